/** The threads of user space: what one does between two calls of KVM_RUN, and to the others. */
import { send_signal_locked } from '../host/signal.ts';
import { pic_irq_request } from '../kvm/i8259.ts';
import { kvm_vcpu_ioctl_interrupt } from '../kvm/irq.ts';
import { kvmExit } from '../state/vcpu.ts';
import { irqchipMode } from '../state/vm.ts';
import { type Body, type Condition, type Machine, type Steps, scenarioActor } from '../steps.ts';
import { userIoapicEoi, userMmio } from './user_ioapic.ts';

/** Nothing but vcpu_run itself is on the stack of the thread, and it has not locked SRCU yet. */
const isOutsideRun: Condition = (m, vcpu) =>
  m.actor[vcpu]!.depth <= 1 && m.vcpu[vcpu]!.srcu_idx === -1;

/** What the last ioctl of the actor gave: 0, or the error, negated. */
export const answer = (m: Machine, result: unknown): void => {
  const actor = m.actor[m.current]!;
  const errno = typeof result === 'number' ? Math.min(0, result) : 0;
  if (actor.errno !== errno) actor.errno = errno;
};

/** Does an ioctl of a vCPU; a thread inside KVM_RUN is called out of it first. */
export function* withMutex(m: Machine, vcpu: number, ioctl: () => Steps<unknown>): Body<void> {
  const target = m.vcpu[vcpu]!;
  yield m.step('wait for the mutex of vCPU {vcpu}: is its thread inside KVM_RUN?', vcpu);
  target.mutex_waiters++;
  if (!isOutsideRun(m, vcpu)) yield* send_signal_locked(m, vcpu);
  yield m.park('take the mutex of the vCPU: it is outside KVM_RUN', isOutsideRun, vcpu);
  answer(m, yield* ioctl());
  yield m.step('release the mutex of vCPU {vcpu}', vcpu);
  target.mutex_waiters--;
}

/** KVM_INTERRUPT, from another thread than that of the vCPU. */
export const ioctlInterrupt = scenarioActor(function* ioctlInterrupt(
  m: Machine,
  vcpu: number,
  vector: number,
) {
  yield* withMutex(m, vcpu, () => kvm_vcpu_ioctl_interrupt(m, vcpu, vector));
});

const bootProcessor = (m: Machine): number =>
  m.vcpu.findIndex(({ vcpu_id }) => vcpu_id === m.vm.bsp_vcpu_id);

/** The PIC asserts INTR, or takes it back; if it is in user space its vCPU has to hear of it. */
export const setPicOutput = scenarioActor(function* setPicOutput(
  m: Machine,
  level: boolean,
  vector: number,
) {
  if (m.vm.irqchip_mode === irqchipMode.KERNEL) {
    yield* pic_irq_request(m, level, vector);
    return;
  }
  const { pic } = m.vm;
  yield m.step('output of the PIC in user space: {level}, vector {vector}', level ? 1 : 0, vector);
  pic.output = level ? 1 : 0;
  pic.vector = vector;
  if (level && bootProcessor(m) >= 0) yield* send_signal_locked(m, bootProcessor(m));
});

/** What the PIC of user space has goes to KVM if the guest can take it; else it asks for that. */
function* offerExtint(m: Machine, vcpu: number): Body<void> {
  const { pic } = m.vm;
  const target = m.vcpu[vcpu]!;
  yield m.step('user space: does its PIC assert INTR?');
  if (pic.output !== 0 && target.ready_for_interrupt_injection) {
    const { vector } = pic;
    yield m.step('acknowledge the PIC: vector {vector}', vector);
    pic.output = 0;
    yield* kvm_vcpu_ioctl_interrupt(m, vcpu, vector);
  }
  yield m.step('request_interrupt_window, if the PIC still asserts INTR');
  target.request_interrupt_window = pic.output !== 0;
}

/** Between two calls of KVM_RUN the thread of a vCPU does what the exit asks for. */
export const betweenRuns = scenarioActor(function* betweenRuns(m: Machine, vcpu: number) {
  const { exit_reason, pending_ioapic_eoi } = m.vcpu[vcpu]!;
  if (exit_reason === kvmExit.MMIO) yield* userMmio(m, vcpu);
  if (exit_reason === kvmExit.IOAPIC_EOI) yield* userIoapicEoi(m, pending_ioapic_eoi);
  const isSplit = m.vm.irqchip_mode === irqchipMode.SPLIT;
  if (isSplit && vcpu === bootProcessor(m)) yield* offerExtint(m, vcpu);
});
