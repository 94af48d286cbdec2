// Operations: each calls the function of the hardware model that the processor would go through.

import { accessKinds, duringEventDelivery, guestAccess } from '#sim/hw/guest_access.ts';
import {
  boundaryEvent,
  eventAtBoundary,
  physicalInterrupt,
  takeBoundaryEvent,
} from '#sim/hw/guest_boundary.ts';
import { guestInstruction } from '#sim/hw/guest_instructions.ts';
import { raiseVector } from '#sim/hw/physical_interrupts.ts';
import { enterGuest, leaveGuest, vmEntry } from '#sim/hw/vm_entry.ts';
import type { Instruction, Program } from '#sim/state/program.ts';
import { exitReason } from '#sim/state/vmcs.ts';
import { type Machine, scenarioActor } from '#sim/steps.ts';
import { type Answer, isObject, type Json, type Operate } from '../adapter.ts';
import { type CpuBench, run, VCPU } from './bench.ts';
import { instructionNames, instructionOf } from './instructions.ts';
import { exitNameOf } from './words.ts';

type Act = Operate<CpuBench>;

/** The transitions alone: the cases look at the guest between them. */
const onlyEnter = scenarioActor(function* onlyEnter(m: Machine) {
  return yield* enterGuest(m, VCPU, []);
});
const onlyLeave = scenarioActor(function* onlyLeave(m: Machine, reason: number) {
  yield* leaveGuest(m, VCPU, reason);
});

/** The guest executes one instruction, and leaves if that makes it leave. */
function execute(bench: CpuBench, instruction: Instruction): Answer {
  const { m, vcpu } = bench;
  const { faulted } = vcpu.guest;
  vcpu.non_root = true;
  m.actor[VCPU]!.pc = 0;
  const program = [instruction];
  const reason = bench.eventDelivery
    ? accessInDelivery(bench, instruction)
    : run(bench, guestInstruction(m, VCPU, program, instruction));
  if (vcpu.guest.faulted !== faulted) return { outcome: '#GP' };
  if (reason === exitReason.NONE) return { outcome: 'completes' };
  run(bench, onlyLeave(m, reason));
  return { outcome: 'vm-exit' };
}

/** The CPU pushes what it interrupts onto a stack that lies in the APIC-access page. */
function accessInDelivery(bench: CpuBench, instruction: Instruction): number {
  const { m, vcpu } = bench;
  const kind = Object.entries(accessKinds).find(([op]) => op === instruction.op)?.[1];
  if (kind === undefined || !('operands' in instruction)) {
    throw new Error(`"${instruction.op}" is no access of an event delivery`);
  }
  const [gpa = 0, low = 0, high = 0] = instruction.operands;
  vcpu.guest.value = low;
  vcpu.guest.value_high = high;
  return run(bench, guestAccess(m, VCPU, gpa, duringEventDelivery(kind)));
}

const executeOp: Act = (bench, op) => execute(bench, instructionOf(op));

/** The key of `expect` that says how the hypervisor answers an exit. */
const whatFollows = 'then';

/** The same for a hypervisor that re-enters at once after each exit. */
export const executeAndReenter: Act = (bench, op) => {
  const answer = execute(bench, instructionOf(op));
  if (answer['outcome'] !== 'vm-exit') return answer;
  const reason = run(bench, onlyEnter(bench.m));
  return reason === exitReason.NONE ? { ...answer, [whatFollows]: 'vm-entry' } : answer;
};

/** Control fields only: what the entry finds in the guest is no matter of the cases. */
const enter: Act = (bench) => {
  const reason = run(bench, onlyEnter(bench.m));
  return { outcome: reason === exitReason.VMFAIL ? 'vm-fail' : 'controls-accepted' };
};

const programOf = (value: Json | undefined): Program => {
  if (!Array.isArray(value)) throw new Error('the program is missing');
  return value.map((op: Json) => {
    if (!isObject(op)) throw new Error(`${JSON.stringify(op)} is no operation`);
    return instructionOf(op);
  });
};

const withHandler = (program: Program, handler: Program): Program =>
  handler.length === 0 ? program : [...program, { op: 'handler', operands: [] }, ...handler];

/** More exits than any case has. */
const entriesMax = 100;

/** Enters again after the exits that the hypervisor answers so. */
const runGuest: Act = (bench, op) => {
  const { m, vcpu, eoiExits } = bench;
  const program = withHandler(programOf(op['program']), bench.handler);
  const resumed = Array.isArray(op['resume_after']) ? op['resume_after'] : [];
  m.actor[VCPU]!.pc = 0;
  for (let entries = 0; entries < entriesMax; entries++) {
    const reason = run(bench, vmEntry(m, VCPU, program));
    if (reason === exitReason.EOI_INDUCED) eoiExits.push(vcpu.vmcs01.exit_qualification);
    if (reason === exitReason.VMFAIL) return { outcome: 'vm-fail' };
    if (!resumed.includes(exitNameOf(reason) ?? '')) return { outcome: 'vm-exit' };
  }
  throw new Error(`the guest exits more than ${entriesMax} times`);
};

/** A vector arrives at the CPU while the guest runs. */
function interrupt(bench: CpuBench, vector: number): Answer {
  const { m, vcpu } = bench;
  vcpu.non_root = true;
  raiseVector(m, vcpu.cpu, vector);
  const reason = run(bench, physicalInterrupt(m, VCPU, []));
  if (reason === exitReason.NONE) return { outcome: 'completes' };
  run(bench, onlyLeave(m, reason));
  return { outcome: reason === exitReason.EXTERNAL_INTERRUPT ? 'not-a-notification' : 'vm-exit' };
}

const externalInterrupt: Act = (bench, op) => interrupt(bench, Number(op['vector']));

/** As a sender does it that knows the descriptor. */
const postAndNotify: Act = (bench, op) => {
  const { pi_desc } = bench.vcpu;
  if (!Array.isArray(op['vectors'])) throw new Error('post-and-notify lacks its vectors');
  for (const vector of op['vectors']) pi_desc.pir.set(Number(vector));
  pi_desc.on = true;
  return interrupt(bench, Number(op['vector']));
};

/** The guest allows interrupts for the length of one boundary; its handler is not looked at. */
const deliver: Act = (bench) => {
  const { m, vcpu } = bench;
  const { guest } = vcpu;
  guest.rflags_if = true;
  const event = eventAtBoundary(m, VCPU);
  if (event !== boundaryEvent.VIRTUAL_INTERRUPT) {
    guest.rflags_if = false;
    return { outcome: 'nothing-is-delivered' };
  }
  run(bench, takeBoundaryEvent(m, VCPU, event, []));
  guest.in_service_program = 0;
  const last = (guest.delivered_count - 1) % guest.delivered.length;
  return { outcome: 'completes', vector: guest.delivered[last]!.vector };
};

export const instructionOps = (act: Act): Readonly<Record<string, Act>> =>
  Object.fromEntries(instructionNames.map((name) => [name, act]));

export const ops: Readonly<Record<string, Act>> = {
  ...instructionOps(executeOp),
  'vm-entry': enter,
  'run-guest': runGuest,
  'external-interrupt': externalInterrupt,
  'post-and-notify': postAndNotify,
  'deliver-virtual-interrupt': deliver,
};
