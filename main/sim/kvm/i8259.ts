/** The output of the PIC pair, which reaches vCPUs through LINT0 in ExtINT mode. */
import { KVM_REQ } from '../state/requests.ts';
import { kvm, type Machine } from '../steps.ts';
import { kvm_apic_accept_pic_intr } from './irq.ts';
import { kvm_make_request, kvm_vcpu_kick } from './kvm_main.ts';

const file = 'arch/x86/kvm/i8259.c';

/**
 * The PIC raises or lowers INTR; `vector` is what it will answer when it is acknowledged.
 * @omits the registers of the PICs, and their lock: user space of the model sets the output
 */
export const pic_irq_request = kvm(
  file,
  function* pic_irq_request(m: Machine, level: boolean, vector: number) {
    const { pic } = m.vm;
    yield m.step('output of the PIC: {level}, vector {vector}', level ? 1 : 0, vector);
    const raised = level && pic.output === 0;
    pic.output = level ? 1 : 0;
    pic.vector = vector;
    if (raised) yield* pic_unlock(m);
  },
);

/** Whoever listens to the PIC looks for interrupts. */
const pic_unlock = kvm(file, function* pic_unlock(m: Machine) {
  for (const { index } of m.vcpu) {
    yield m.step('does vCPU {vcpu} listen to the PIC?', index);
    if (!kvm_apic_accept_pic_intr(m, index)) continue;
    yield m.step('make EVENT of vCPU {vcpu}', index);
    kvm_make_request(m, index, KVM_REQ.EVENT);
    yield* kvm_vcpu_kick(m, index);
    return;
  }
});

/** Acknowledges the PIC; gives its vector. @kvm arch/x86/kvm/i8259.c */
export const kvm_pic_read_irq = (m: Machine): number => {
  m.vm.pic.output = 0;
  return m.vm.pic.vector;
};
