/** VMCALL: what the guest asks KVM for by a number. */
import { skipInstruction } from '../hw/guest_program.ts';
import { APIC_DEST_NOSHORT, APIC_DEST_PHYSICAL, APIC_DM_REMRD } from '../state/apicdef.ts';
import { KVM_HC, type Program } from '../state/program.ts';
import { type Body, kvm, type Machine } from '../steps.ts';
import { type Hypercall, hypercallAt } from './decode.ts';
import { KVM_ENOSYS } from './errno.ts';
import type { KvmLapicIrq } from './lapic/destination.ts';
import { kvm_irq_delivery_to_apic } from './lapic/ipi.ts';
import { kvm_pv_send_ipi } from './lapic/pv_ipi.ts';

const file = 'arch/x86/kvm/x86.c';

/** Ends HLT of a vCPU, also with interrupts off: the lock that it waits for is free. */
const kvm_pv_kick_cpu_op = kvm(file, function* kvm_pv_kick_cpu_op(m: Machine, apicId: number) {
  const irq: KvmLapicIrq = {
    vector: 0,
    delivery_mode: APIC_DM_REMRD,
    dest_mode: APIC_DEST_PHYSICAL,
    shorthand: APIC_DEST_NOSHORT,
    level: false,
    trig_mode: false,
    dest_id: apicId,
    msi_redir_hint: false,
  };
  yield* kvm_irq_delivery_to_apic(m, -1, irq);
});

/** What the guest finds in RAX. @omits kvm_sched_yield: who is kicked gets the CPU of the kicker */
function* answer(m: Machine, { nr, a0, a1, a2, a3 }: Hypercall): Body<number> {
  if (nr === KVM_HC.KICK_CPU) {
    yield* kvm_pv_kick_cpu_op(m, a1);
    return 0;
  }
  if (nr !== KVM_HC.SEND_IPI) return -KVM_ENOSYS;
  const bitmaps = [
    { low: a0, high: 0 },
    { low: a1, high: 0 },
  ] as const;
  return yield* kvm_pv_send_ipi(m, bitmaps, a2, a3, true);
}

/** @omits hypercalls that have nothing to do with the APIC */
export const kvm_emulate_hypercall = kvm(
  file,
  function* kvm_emulate_hypercall(m: Machine, vcpu: number, program: Program) {
    const call = hypercallAt(m, program);
    yield m.step('hypercall {nr}', call.nr);
    const result: number = yield* answer(m, call);
    yield m.step('RAX = {result}; the guest goes on behind VMCALL', result);
    m.vcpu[vcpu]!.guest.value = result >>> 0;
    skipInstruction(m, program);
  },
);
