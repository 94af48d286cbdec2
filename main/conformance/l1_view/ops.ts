// Operations of the cases: they become instructions of L2 and of L1's other CPU, which run at the
// last of them.

import type { Instruction, Program } from '#sim/state/program.ts';
import { exitReason } from '#sim/state/vmcs.ts';
import { type Answer, isObject, type Json, type JsonObject, type Operate } from '../adapter.ts';
import { deliveryModes, destModes, numberFor, numberOf } from '../kvm/words.ts';
import { instructionOf } from '../vmx_cpu/instructions.ts';
import { type L1Bench, machineFor, page, runAll, VCPU } from './bench.ts';
import { readL1 } from './expects.ts';
import { layMemory, programOfL1 } from './l1.ts';

type Act = Operate<L1Bench>;

const X2APIC_MSR = 0x800;
const ICR_MSR = 0x830;
const ON = 1;
const offsetOfControl = 0x20;
/** How often L2 looks before it goes on; nothing that it waits for takes as long. */
const spins = 1_000;

const withHandler = (program: Program, handler: Json | undefined): Program => {
  if (handler === undefined) return program;
  const ops = (handler as readonly JsonObject[]).map(instructionOf);
  return [...program, { op: 'handler', operands: [] }, ...ops];
};

/** L1 runs L2, and its other CPU does its part. */
function run(bench: L1Bench): void {
  const { l2, peer, given } = bench;
  const programs = { l1: programOfL1(bench), l2: withHandler(l2, given['handler']), peer };
  bench.m = machineFor(bench, programs);
  layMemory(bench);
  runAll(bench);
}

const vmcall: Instruction = { op: 'vmcall', operands: [] };

/** What L2 says at the end, unless something else made it exit. */
const outcomeOf = ({ m, exits }: L1Bench): Answer => {
  if (exits[0] !== exitReason.VMCALL) return { outcome: 'vm-exit' };
  return { outcome: m.vcpu[VCPU]!.guest.faulted > 0 ? '#GP' : 'completes' };
};

/** The value of an MSR write that gives the register what it has. */
function currentOf(bench: L1Bench, op: JsonObject): JsonObject {
  if (op['value'] !== 'l1-current') return op;
  const msr = numberOf(op['msr']);
  const value = readL1(bench, msr);
  bench.before.set((msr - X2APIC_MSR) * 16, value);
  return { ...op, value: `0x${value.toString(16)}` };
}

/** One access of L2, and nothing else. */
const access: Act = (bench, op) => {
  bench.l2.push(instructionOf(currentOf(bench, op)), vmcall);
  run(bench);
  return outcomeOf(bench);
};

const append = (bench: L1Bench, instruction: Instruction): undefined => {
  bench.l2.push(instruction);
};

const vapicBit = (op: JsonObject): { readonly gpa: number; readonly bit: number } => {
  const [offset, bit] = op['vapic_bit'] as readonly Json[];
  return { gpa: page.VAPIC + numberOf(offset), bit: numberOf(bit) };
};

/** L2 reads the word as memory, or only waits for its handler; loops have no condition. */
const spin: Act = (bench, op) => {
  const looks: Instruction =
    op['vapic_bit'] === undefined
      ? { op: 'pause', operands: [] }
      : { op: 'read', operands: [vapicBit(op).gpa] };
  const target = bench.l2.length + 1;
  append(bench, { op: 'loop-begin', counter: 0, count: spins });
  append(bench, looks);
  append(bench, { op: 'loop-end', counter: 0, target });
};

/** The cases post nothing else in the word. */
const clearVapicBit: Act = (bench, op) => {
  const { gpa, bit } = vapicBit(op);
  const { vapic = {} } = bench.given;
  const word = numberOf((vapic as JsonObject)[`0x${(gpa - page.VAPIC).toString(16)}`] ?? 0);
  append(bench, { op: 'write', operands: [gpa, (word & ~(1 << bit)) >>> 0] });
};

const signal: Act = (bench) => {
  bench.signalled = bench.l2.length;
  return {};
};

const wholeProgram: Act = (bench, op) => {
  for (const one of op['program'] as readonly Json[]) {
    if (!isObject(one)) throw new Error(`${JSON.stringify(one)} is no operation`);
    if (one['op'] === 'signal') signal(bench, one);
    else append(bench, instructionOf(one));
  }
};

/** L1's other CPU writes a word of the descriptor, of which it is the only writer. */
const writeDescriptor = (bench: L1Bench, offset: number, word: number): undefined => {
  bench.peer.push({ op: 'write', operands: [page.DESCRIPTOR + offset, word] });
};

const setPir: Act = (bench, op) => {
  const vector = numberOf(op['vector']);
  writeDescriptor(bench, (vector >>> 5) * 4, (1 << (vector & 31)) >>> 0);
};

const sendIpi: Act = ({ peer }, op) => {
  const low =
    numberOf(op['vector']) |
    numberFor(deliveryModes, op['delivery_mode']) |
    numberFor(destModes, op['dest_mode']);
  peer.push({ op: 'wrmsr64', operands: [ICR_MSR, low, numberOf(op['dest_cpu'])] });
};

const runToEnd: Act = (bench) => {
  append(bench, vmcall);
  run(bench);
  return outcomeOf(bench);
};

/** Steps that only say in which order the CPUs act: the run keeps to it. */
const order: Act = () => ({});

export const ops: Readonly<Record<string, Act>> = {
  rdmsr: access,
  wrmsr: access,
  'vm-entry': order,
  wait: order,
  join: order,
  signal,
  'spin-until': spin,
  'guest.clear-vapic-bit': clearVapicBit,
  program: wholeProgram,
  'pid.set-pir': setPir,
  'pid.set-on': (bench) => writeDescriptor(bench, offsetOfControl, ON),
  'icr.write': sendIpi,
  vmcall: runToEnd,
};
