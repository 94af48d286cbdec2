/** VM entry, the guest on the CPU, VM exit: a call that gives the exit reason. */
import { level } from '../state/actor.ts';
import type { Instruction, Program } from '../state/program.ts';
import { cpuControl, exitReason, secondaryControl } from '../state/vmcs.ts';
import { type Machine, sdm } from '../steps.ts';
import { virtualizePpr } from './apic_virtualization.ts';
import { guestAccess } from './guest_access.ts';

/** Counts down a `repeat` of a program; the arithmetic of loops takes no step. */
export const skipLoops = (
  m: Machine,
  actorIndex: number,
  program: Program,
): Instruction | undefined => {
  const actor = m.actor[actorIndex]!;
  for (;;) {
    const instruction = program[actor.pc];
    if (instruction === undefined) return undefined;
    if (instruction.op === 'loop-begin') {
      actor.counter[instruction.counter]!.left = instruction.count;
      actor.pc++;
    } else if (instruction.op === 'loop-end') {
      const counter = actor.counter[instruction.counter]!;
      counter.left--;
      actor.pc = counter.left > 0 ? instruction.target : actor.pc + 1;
    } else {
      return instruction;
    }
  }
};

/** One instruction of the guest; gives the exit reason, NONE when it has completed. */
const executeInstruction = sdm(
  '26.1',
  function* guestInstruction(m: Machine, vcpu: number, instruction: Instruction | undefined) {
    const actor = m.actor[m.current]!;
    const op = instruction?.op ?? 'hlt';
    if (op === 'hlt') {
      yield m.step('HLT');
      const { vmcs01 } = m.vcpu[vcpu]!;
      return vmcs01.cpu_based_vm_exec_control.has(cpuControl.HLT)
        ? (exitReason.HLT as number)
        : exitReason.NONE;
    }
    if (op === 'read' || op === 'write') {
      const [gpa = 0, value = 0] =
        instruction !== undefined && 'operands' in instruction ? instruction.operands : [];
      const reason = yield* guestAccess(m, vcpu, { gpa, write: op === 'write', value });
      // TPR_BELOW_THRESHOLD is trap-like: the instruction has completed.
      if (reason === exitReason.NONE || reason === exitReason.TPR_BELOW_THRESHOLD) actor.pc++;
      return reason;
    }
    yield m.step('PAUSE');
    actor.pc++;
    return exitReason.NONE;
  },
);

/**
 * Enters the guest and runs it until something makes it exit. Interrupts of the host stay off:
 * one that arrives is taken as a VM exit at the next instruction boundary.
 * @sdm 27 VM entries, 28 VM exits
 * @omits the checks of control fields and guest state, event injection
 */
export const vmEntry = sdm(
  '27',
  function* vmEntry(m: Machine, vcpuIndex: number, program: Program) {
    const vcpu = m.vcpu[vcpuIndex]!;
    const actor = m.actor[m.current]!;
    yield m.step('VM entry');
    vcpu.stat.vm_entries++;
    vcpu.non_root = true;
    actor.level = level.L1;
    if (vcpu.vmcs01.secondary_vm_exec_control.has(secondaryControl.VIRTUAL_INTR_DELIVERY)) {
      virtualizePpr(m, vcpuIndex);
    }
    let reason: number = exitReason.NONE;
    while (reason === exitReason.NONE) {
      // The boundary is not a step of its own: an interrupt that comes later is seen at the next.
      reason =
        m.cpu[vcpu.cpu]!.pending.word(0) !== 0
          ? exitReason.EXTERNAL_INTERRUPT
          : yield* executeInstruction(m, vcpuIndex, skipLoops(m, m.current, program));
    }
    yield m.step('VM exit');
    vcpu.non_root = false;
    vcpu.spec.left_guest++;
    vcpu.stat.vm_exits++;
    vcpu.vmcs01.vm_exit_reason = reason;
    actor.level = level.L0;
    return reason;
  },
);
