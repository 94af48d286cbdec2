/** What a VM entry checks before it touches the guest: controls, then the event to inject. */
import {
  cpuControl,
  eventType,
  exitControl,
  INTR_INFO_VALID,
  pinControl,
  secondaryControl,
  tertiaryControl,
} from '../state/vmcs.ts';
import type { Machine } from '../steps.ts';
import { interruptsOpen } from './guest_interrupts.ts';
import { tprBelowThreshold } from './virtual_interrupts.ts';
import { currentVmcs, pinOn, primaryOn, secondaryOn, tertiaryOn, type VmcsView } from './vmcs.ts';

const architecturalMaxphyaddr = 52;

/** Is it a multiple of `alignment`, and inside the physical address space? */
const isAddress = (m: Machine, vcpu: number, address: number, alignment: number): boolean => {
  const bits = m.cpu[m.vcpu[vcpu]!.cpu]!.maxphyaddr || architecturalMaxphyaddr;
  return address % alignment === 0 && address < 2 ** bits;
};

const tprShadow = (v: VmcsView): boolean => primaryOn(v, cpuControl.TPR_SHADOW);
const apicAccesses = (v: VmcsView): boolean =>
  secondaryOn(v, secondaryControl.VIRTUALIZE_APIC_ACCESSES);
const x2apicMode = (v: VmcsView): boolean =>
  secondaryOn(v, secondaryControl.VIRTUALIZE_X2APIC_MODE);
const registerVirtualization = (v: VmcsView): boolean =>
  secondaryOn(v, secondaryControl.APIC_REGISTER_VIRT);
const interruptDelivery = (v: VmcsView): boolean =>
  secondaryOn(v, secondaryControl.VIRTUAL_INTR_DELIVERY);
const ipiVirtualization = (v: VmcsView): boolean => tertiaryOn(v, tertiaryControl.IPI_VIRT);
const postedInterrupts = (v: VmcsView): boolean => pinOn(v, pinControl.POSTED_INTR);

export interface VmEntryCheck {
  readonly rule: string;
  /** where the rule applies: other fields may hold anything */
  readonly applies: (vmcs: VmcsView) => boolean;
  readonly holds: (vmcs: VmcsView, m: Machine, vcpu: number) => boolean;
}

/**
 * The rules about interrupts and the APIC.
 * @sdm 27.2.1.1 VM-Execution Control Fields
 * @omits what is not about them: EPTP, VPID, bitmaps of other kinds, reserved bits of controls
 */
export const vmEntryChecks: readonly VmEntryCheck[] = [
  {
    rule: 'virtual NMIs need NMI exiting',
    applies: (v) => !pinOn(v, pinControl.NMI),
    holds: (v) => !pinOn(v, pinControl.VIRTUAL_NMIS),
  },
  {
    rule: 'NMI-window exiting needs virtual NMIs',
    applies: (v) => !pinOn(v, pinControl.VIRTUAL_NMIS),
    holds: (v) => !primaryOn(v, cpuControl.NMI_WINDOW),
  },
  {
    rule: 'the virtual-APIC address is that of a page',
    applies: tprShadow,
    holds: (v, m, vcpu) => isAddress(m, vcpu, v.virtual_apic_page_addr, 4096),
  },
  {
    rule: 'bits 31:4 of the TPR threshold are 0 without virtual-interrupt delivery',
    applies: (v) => tprShadow(v) && !interruptDelivery(v),
    holds: (v) => v.tpr_threshold >>> 4 === 0,
  },
  {
    rule: 'VTPR is not below the TPR threshold, where no exit would follow the entry',
    applies: (v) => tprShadow(v) && !interruptDelivery(v) && !apicAccesses(v),
    holds: (v, m, vcpu) => !tprBelowThreshold(m, vcpu, v),
  },
  {
    rule: 'x2APIC mode, register virtualization and interrupt delivery need a TPR shadow',
    applies: (v) => !tprShadow(v),
    holds: (v) => !x2apicMode(v) && !registerVirtualization(v) && !interruptDelivery(v),
  },
  {
    rule: 'the APIC-access address is that of a page',
    applies: apicAccesses,
    holds: (v, m, vcpu) => isAddress(m, vcpu, v.apic_access_addr, 4096),
  },
  {
    rule: 'x2APIC mode and APIC accesses are not virtualized together',
    applies: x2apicMode,
    holds: (v) => !apicAccesses(v),
  },
  {
    rule: 'virtual-interrupt delivery needs external-interrupt exiting',
    applies: interruptDelivery,
    holds: (v) => pinOn(v, pinControl.EXT_INTR),
  },
  {
    rule: 'posted interrupts need virtual-interrupt delivery',
    applies: postedInterrupts,
    holds: interruptDelivery,
  },
  {
    rule: 'posted interrupts need acknowledge-interrupt-on-exit',
    applies: postedInterrupts,
    holds: (v) => v.vm_exit_controls.has(exitControl.ACK_INTR_ON_EXIT),
  },
  {
    rule: 'the notification vector has 8 bits',
    applies: postedInterrupts,
    holds: (v) => v.posted_intr_nv >>> 8 === 0,
  },
  {
    rule: 'the address of the posted-interrupt descriptor is a multiple of 64',
    applies: postedInterrupts,
    holds: (v, m, vcpu) => isAddress(m, vcpu, v.posted_intr_desc_addr, 64),
  },
  {
    // Unverified, like the rest of IPI virtualization.
    rule: 'IPI virtualization needs a TPR shadow and a PID-pointer table',
    applies: ipiVirtualization,
    holds: (v, m, vcpu) => tprShadow(v) && isAddress(m, vcpu, v.pid_pointer_table, 8),
  },
];

/** The first rule that the VMCS breaks, undefined for none: the entry fails, or goes on. */
export const brokenEntryCheck = (m: Machine, vcpu: number): VmEntryCheck | undefined => {
  const vmcs = currentVmcs(m, vcpu);
  for (const check of vmEntryChecks) {
    if (check.applies(vmcs) && !check.holds(vmcs, m, vcpu)) return check;
  }
  return undefined;
};

export const typeOfEvent = (info: number): number => (info >>> 8) & 7;

/**
 * An external interrupt is injected only into a guest that could take one.
 * @sdm 27.3.1.4 Checks on Guest RIP, RFLAGS, and SSP; 27.3.1.5 Checks on Guest Non-Register State
 */
export const canInject = (m: Machine, vcpu: number): boolean => {
  const info = currentVmcs(m, vcpu).vm_entry_intr_info;
  if (info < INTR_INFO_VALID || typeOfEvent(info) !== eventType.EXTERNAL_INTERRUPT) return true;
  return interruptsOpen(m, vcpu);
};
