// Operations of a guest, as instructions that the hardware model executes.

import { APIC_DEFAULT_PHYS_BASE } from '#sim/state/addresses.ts';
import type { Instruction, Op } from '#sim/state/program.ts';
import type { Json, JsonObject } from '../adapter.ts';

const reads: Readonly<Record<number, Op>> = { 1: 'read8', 2: 'read16', 4: 'read', 8: 'read64' };
const writes: Readonly<Record<number, Op>> = {
  1: 'write8',
  2: 'write16',
  4: 'write',
  8: 'write64',
};

const halvesOf = (value: Json | undefined): [low: number, high: number] => {
  const whole = BigInt(value as string | number);
  return [Number(whole & 0xffff_ffffn), Number(whole >> 32n)];
};

const accessOf = (ops: Readonly<Record<number, Op>>, op: JsonObject): Instruction => {
  const found = ops[Number(op['width'])];
  if (found === undefined) throw new Error(`no instruction has the width ${op['width']}`);
  const gpa = APIC_DEFAULT_PHYS_BASE + Number(op['offset']);
  return {
    op: found,
    operands: op['value'] === undefined ? [gpa] : [gpa, ...halvesOf(op['value'])],
  };
};

const forms: Readonly<Record<string, (op: JsonObject) => Instruction>> = {
  'mmio.read': (op) => accessOf(reads, op),
  'mmio.write': (op) => accessOf(writes, op),
  rdmsr: ({ msr }) => ({ op: 'rdmsr', operands: [Number(msr)] }),
  wrmsr: ({ msr, value }) => ({ op: 'wrmsr64', operands: [Number(msr), ...halvesOf(value)] }),
  'mov-to-cr8': ({ value }) => ({ op: 'mov-to-cr8', operands: [Number(value)] }),
  'mov-from-cr8': () => ({ op: 'mov-from-cr8', operands: [] }),
  vmcall: () => ({ op: 'vmcall', operands: [] }),
  hlt: () => ({ op: 'hlt', operands: [] }),
  sti: () => ({ op: 'sti', operands: [] }),
  cli: () => ({ op: 'cli', operands: [] }),
  iret: () => ({ op: 'iret', operands: [] }),
};

export const instructionNames = Object.keys(forms);

export function instructionOf(op: JsonObject): Instruction {
  const name = String(op['op']);
  const form = Object.hasOwn(forms, name) ? forms[name] : undefined;
  if (form === undefined) throw new Error(`no adapter knows the instruction "${name}"`);
  return form(op);
}
