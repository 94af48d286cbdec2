/** What a VMLAUNCH or VMRESUME of L1 checks in vmcs12. */
import { readFrame } from '../../../hw/memory.ts';
import { pinOn, primaryOn, secondaryOn } from '../../../hw/vmcs.ts';
import { APIC_TASKPRI } from '../../../state/apicdef.ts';
import { PAGE_SIZE } from '../../../state/machine.ts';
import {
  activityState,
  cpuControl,
  eventType,
  exitControl,
  INTR_INFO_VALID,
  pinControl,
  secondaryControl,
} from '../../../state/vmcs.ts';
import { kvm, type Machine } from '../../../steps.ts';
import { nested_lock_vapic, nested_unlock_vapic } from './l2_pages.ts';

/** The address of a page, inside what the guest can address. @kvm arch/x86/kvm/cpuid.h */
export const page_address_valid = (m: Machine, gpa: number): boolean =>
  isAddress(m, gpa, PAGE_SIZE);

type Vmcs12View = Machine['vcpu'][number]['nested']['cached_vmcs12'];

const isAddress = (m: Machine, address: number, alignment: number): boolean =>
  address % alignment === 0 && address < 2 ** m.vm.maxphyaddr;

/** @kvm nested.c: nested_vmx_check_tpr_shadow_controls */
const tprShadowIsFit = (m: Machine, v: Vmcs12View): boolean => {
  if (!primaryOn(v, cpuControl.TPR_SHADOW)) return true;
  if (!page_address_valid(m, v.virtual_apic_page_addr)) return false;
  return secondaryOn(v, secondaryControl.VIRTUAL_INTR_DELIVERY) || v.tpr_threshold >>> 4 === 0;
};

/** @kvm nested.c: nested_vmx_check_apic_access_controls */
const apicAccessIsFit = (m: Machine, v: Vmcs12View): boolean =>
  !secondaryOn(v, secondaryControl.VIRTUALIZE_APIC_ACCESSES) ||
  page_address_valid(m, v.apic_access_addr);

/** @kvm nested.c: nested_vmx_check_apicv_controls */
const apicvIsFit = (m: Machine, v: Vmcs12View): boolean => {
  const x2apic = secondaryOn(v, secondaryControl.VIRTUALIZE_X2APIC_MODE);
  const delivery = secondaryOn(v, secondaryControl.VIRTUAL_INTR_DELIVERY);
  const posted = pinOn(v, pinControl.POSTED_INTR);
  const registers = secondaryOn(v, secondaryControl.APIC_REGISTER_VIRT);
  if (!x2apic && !registers && !delivery && !posted) return true;
  if (x2apic && secondaryOn(v, secondaryControl.VIRTUALIZE_APIC_ACCESSES)) return false;
  if (delivery && !pinOn(v, pinControl.EXT_INTR)) return false;
  if (posted) {
    const acknowledges = v.vm_exit_controls.has(exitControl.ACK_INTR_ON_EXIT);
    const fit = delivery && acknowledges && v.posted_intr_nv >>> 8 === 0;
    if (!fit || !isAddress(m, v.posted_intr_desc_addr, 64)) return false;
  }
  return primaryOn(v, cpuControl.TPR_SHADOW);
};

/** @kvm nested.c: nested_vmx_check_nmi_controls */
const nmiIsFit = (v: Vmcs12View): boolean => {
  const virtual = pinOn(v, pinControl.VIRTUAL_NMIS);
  if (virtual && !pinOn(v, pinControl.NMI)) return false;
  return virtual || !primaryOn(v, cpuControl.NMI_WINDOW);
};

/** @kvm nested.c: nested_vmx_check_msr_bitmap_controls */
const msrBitmapIsFit = (m: Machine, v: Vmcs12View): boolean =>
  !primaryOn(v, cpuControl.MSR_BITMAPS) || page_address_valid(m, v.msr_bitmap);

const NMI_VECTOR = 2;
const lastException = 31;
/** Bits 30:12 of the field; bit 11, an error code, comes with exceptions that have one. */
const reservedOfInfo = 0x7fff_f000;
const DELIVER_CODE = 1 << 11;
/** #DF, #TS, #NP, #SS, #GP, #PF, #AC */
const withErrorCode: readonly number[] = [8, 10, 11, 12, 13, 14, 17];

/**
 * The event that the entry shall inject.
 * @kvm nested.c: nested_check_vm_entry_controls
 * @omits the monitor trap flag, the error code itself, instruction lengths
 */
const eventIsFit = ({ vm_entry_intr_info_field: info }: Vmcs12View): boolean => {
  if (info < INTR_INFO_VALID) return true;
  const [type, vector] = [(info >>> 8) & 7, info & 0xff];
  if (type === eventType.RESERVED || (info & reservedOfInfo) !== 0) return false;
  if (type === eventType.NMI && vector !== NMI_VECTOR) return false;
  const exception = type === eventType.EXCEPTION;
  if (exception && vector > lastException) return false;
  return ((info & DELIVER_CODE) !== 0) === (exception && withErrorCode.includes(vector));
};

/** What has no field in an enlightened VMCS. */
const noPinOfEvmcs: readonly number[] = [pinControl.POSTED_INTR, pinControl.PREEMPTION_TIMER];
const noSecondaryOfEvmcs: readonly number[] = [
  secondaryControl.VIRTUALIZE_APIC_ACCESSES,
  secondaryControl.APIC_REGISTER_VIRT,
  secondaryControl.VIRTUAL_INTR_DELIVERY,
];

/**
 * Where user space has enabled enlightened VMCSs L1 is not offered what they cannot express.
 * @kvm arch/x86/kvm/vmx/hyperv.c
 */
const nested_evmcs_check_controls = (v: Vmcs12View): boolean =>
  !noPinOfEvmcs.some((control) => pinOn(v, control)) &&
  !noSecondaryOfEvmcs.some((control) => secondaryOn(v, control));

/**
 * Are the controls of vmcs12 fit for an entry, as far as interrupts and the APIC are concerned?
 * Otherwise the instruction fails with "invalid control fields".
 * @kvm nested.c: nested_vmx_check_controls
 */
export const nested_vmx_check_controls = (m: Machine, vcpu: number): boolean => {
  const { cached_vmcs12: v, enlightened_vmcs_enabled } = m.vcpu[vcpu]!.nested;
  return (
    msrBitmapIsFit(m, v) &&
    tprShadowIsFit(m, v) &&
    apicAccessIsFit(m, v) &&
    apicvIsFit(m, v) &&
    nmiIsFit(v) &&
    eventIsFit(v) &&
    (!enlightened_vmcs_enabled || nested_evmcs_check_controls(v))
  );
};

/**
 * Is VTPR at least the TPR threshold, where no exit would follow the entry? L1 may change VTPR
 * until the CPU looks at it, so that the hardware has the last word; without `vtpr-late-check` it
 * has the only one. vmcs02 is loaded, and has its pages.
 */
export const nested_vmx_check_controls_late = kvm(
  'arch/x86/kvm/vmx/nested.c',
  function* nested_vmx_check_controls_late(m: Machine, vcpu: number) {
    if (!m.on('vtpr-late-check')) return true;
    const { nested, vmcs02 } = m.vcpu[vcpu]!;
    const { cached_vmcs12: v } = nested;
    const vapic: number = yield* nested_lock_vapic(m, vcpu);
    yield m.step('compare VTPR with the TPR threshold');
    const vtpr = vapic < 0 ? 0 : readFrame(m, vapic, APIC_TASKPRI);
    if (vapic >= 0) yield* nested_unlock_vapic(m, vcpu);
    const shadowed =
      primaryOn(v, cpuControl.TPR_SHADOW) && primaryOn(vmcs02, cpuControl.TPR_SHADOW);
    const exits =
      secondaryOn(v, secondaryControl.VIRTUAL_INTR_DELIVERY) ||
      secondaryOn(v, secondaryControl.VIRTUALIZE_APIC_ACCESSES);
    if (!shadowed || exits) return true;
    return vapic >= 0 && (v.tpr_threshold & 0xf) <= ((vtpr >>> 4) & 0xf);
  },
);

const enterable: readonly number[] = [
  activityState.ACTIVE,
  activityState.HLT,
  activityState.WAIT_SIPI,
];

/**
 * Is the guest state of vmcs12 fit? Otherwise the entry ends in an exit.
 * @kvm nested.c: nested_vmx_check_guest_state
 */
export const nested_vmx_check_guest_state = (m: Machine, vcpu: number): boolean =>
  enterable.includes(m.vcpu[vcpu]!.nested.cached_vmcs12.guest_activity_state);
