import { expect, test } from 'vitest';
import { kvm_emulate_hypercall } from '#sim/kvm/hypercall.ts';
import type { Instruction } from '#sim/state/program.ts';
import type { Machine } from '#sim/steps.ts';
import { does, machineWith } from './lapic_machine.ts';

const apics = [0, 5, 70].map((id) => ({ id, interrupts: true }));

/** The vCPU makes the hypercall; gives RAX as a signed number. */
const call = (m: Machine, instruction: Instruction): number => {
  does(m, kvm_emulate_hypercall(m, 0, [instruction]));
  return m.vcpu[0]!.guest.value | 0;
};
const requested = (m: Machine, vector: number): boolean[] =>
  m.vcpu.map(({ apic }) => apic.irr.has(vector));

test('each bit of the two masks is an APIC ID from the lowest one on', () => {
  const m = machineWith({ vcpus: 3, apics });
  const instruction = { op: 'pv-send-ipi', operands: [1 << 1, 1 << 2, 4, 0x41] } as const;
  expect(call(m, instruction)).toBe(2);
  expect(requested(m, 0x41)).toEqual([false, true, true]);
  expect(m.actor[0]!.pc).toBe(1);
});

test('a logical destination is refused, and the guest is told', () => {
  const m = machineWith({ vcpus: 3, apics });
  expect(call(m, { op: 'pv-send-ipi', operands: [1, 0, 0, 0x841] })).toBe(-22);
  expect(requested(m, 0x41)).toEqual([false, false, false]);
});

test('a kick goes to the APIC ID of the vCPU, and leaves its IRR alone', () => {
  const m = machineWith({ vcpus: 3, apics });
  expect(call(m, { op: 'pv-kick', operands: [2] })).toBe(0);
  expect(m.vcpu.map(({ pv_unhalted }) => pv_unhalted)).toEqual([false, false, true]);
  expect(requested(m, 0)).toEqual([false, false, false]);
});

test('a hypercall that KVM does not know is answered so', () => {
  expect(call(machineWith(), { op: 'vmcall', operands: [] })).toBe(-1000);
});
