/** What can interrupt a vCPU: the PIC or user space through LINT0, and the local APIC. */
import { APIC_DM_EXTINT, APIC_LVT_MASKED, APIC_MODE_MASK } from '../state/apicdef.ts';
import { KVM_REQ } from '../state/requests.ts';
import { irqchipMode } from '../state/vm.ts';
import { kvm, type Machine } from '../steps.ts';
import { EEXIST, EINVAL, ENXIO } from './errno.ts';
import { kvm_pic_read_irq } from './i8259.ts';
import { kvm_make_request } from './kvm_main.ts';
import {
  kvm_apic_ack_interrupt,
  kvm_apic_has_interrupt,
  kvm_apic_hw_enabled,
} from './lapic/priority.ts';
import { tdx_protected_apic_has_interrupt } from './tdx.ts';

const file = 'arch/x86/kvm/irq.c';

const KVM_NR_INTERRUPTS = 256;

const picInKernel = (m: Machine): boolean => m.vm.irqchip_mode === irqchipMode.KERNEL;

/** Does the vCPU listen to the PIC? A disabled APIC lets it through. @kvm arch/x86/kvm/lapic.c */
export const kvm_apic_accept_pic_intr = (m: Machine, vcpu: number): boolean => {
  const { lvt0 } = m.vcpu[vcpu]!.apic;
  if (!kvm_apic_hw_enabled(m, vcpu)) return true;
  return (lvt0 & APIC_LVT_MASKED) === 0 && (lvt0 & APIC_MODE_MASK) === APIC_DM_EXTINT;
};

/** @kvm arch/x86/kvm/irq.c */
export const kvm_cpu_has_extint = (m: Machine, vcpu: number): boolean => {
  if (!kvm_apic_accept_pic_intr(m, vcpu)) return false;
  return picInKernel(m) ? m.vm.pic.output !== 0 : m.vcpu[vcpu]!.pending_external_vector !== -1;
};

/** Has KVM to inject an interrupt? With APICv the CPU delivers what the APIC has for L1. */
export const kvm_cpu_has_injectable_intr = kvm(
  file,
  function* kvm_cpu_has_injectable_intr(m: Machine, vcpu: number) {
    const target = m.vcpu[vcpu]!;
    yield m.step('is there an ExtINT?');
    if (kvm_cpu_has_extint(m, vcpu)) return true;
    if (!target.guest_mode && target.apic.apicv_active) return false;
    const vector: number = yield* kvm_apic_has_interrupt(m, vcpu);
    return vector !== -1;
  },
);

/** Is there an interrupt, whoever delivers it? */
export const kvm_cpu_has_interrupt = kvm(
  file,
  function* kvm_cpu_has_interrupt(m: Machine, vcpu: number) {
    yield m.step('is there an ExtINT?');
    if (kvm_cpu_has_extint(m, vcpu)) return true;
    if (m.vcpu[vcpu]!.apic.guest_apic_protected) {
      const pending: boolean = yield* tdx_protected_apic_has_interrupt(m, vcpu);
      return pending;
    }
    const vector: number = yield* kvm_apic_has_interrupt(m, vcpu);
    return vector !== -1;
  },
);

/** Acknowledges the PIC, or takes what user space left; −1 for nothing. */
export const kvm_cpu_get_extint = kvm(file, function* kvm_cpu_get_extint(m: Machine, vcpu: number) {
  const target = m.vcpu[vcpu]!;
  yield m.step('take the ExtINT, if there is one');
  if (!kvm_cpu_has_extint(m, vcpu)) return -1;
  target.spec.extints++;
  if (picInKernel(m)) return kvm_pic_read_irq(m);
  const vector = target.pending_external_vector;
  target.pending_external_vector = -1;
  return vector;
});

/** The vector to inject, acknowledged; −1 for none. An ExtINT leaves IRR and ISR alone. */
export const kvm_cpu_get_interrupt = kvm(
  file,
  function* kvm_cpu_get_interrupt(m: Machine, vcpu: number) {
    const external: number = yield* kvm_cpu_get_extint(m, vcpu);
    if (external !== -1) return external;
    const vector: number = yield* kvm_apic_has_interrupt(m, vcpu);
    if (vector !== -1) yield* kvm_apic_ack_interrupt(m, vcpu, vector);
    return vector;
  },
);

/** KVM_INTERRUPT with a split irqchip: the PIC of user space has a vector. 0, or an error. */
export const kvm_vcpu_ioctl_interrupt = kvm(
  'arch/x86/kvm/x86.c',
  function* kvm_vcpu_ioctl_interrupt(m: Machine, vcpu: number, vector: number) {
    const target = m.vcpu[vcpu]!;
    if (vector >= KVM_NR_INTERRUPTS) return -EINVAL;
    if (picInKernel(m)) return -ENXIO;
    yield m.step('pending_external_vector = {vector}', vector);
    if (target.pending_external_vector !== -1) return -EEXIST;
    target.pending_external_vector = vector;
    yield m.step('make EVENT');
    kvm_make_request(m, vcpu, KVM_REQ.EVENT);
    return 0;
  },
);
