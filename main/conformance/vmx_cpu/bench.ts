// The machine of a case for the processor: one vCPU in VMX non-root operation, whose VMCS the case
// writes. Only the state is laid here; what happens to it is the hardware model's own doing.

import { boot } from '#sim/boot.ts';
import { alloc_page } from '#sim/host/frames.ts';
import { readFrame, writeFrame } from '#sim/hw/memory.ts';
import { hpaOfPiDesc } from '#sim/state/addresses.ts';
import { hpa_to_pfn, PAGE_SIZE, pfn_to_hpa } from '#sim/state/machine.ts';
import type { Program } from '#sim/state/program.ts';
import { profileOf } from '#sim/state/switches.ts';
import { secondaryControl } from '#sim/state/vmcs.ts';
import { type Call, type Machine, perform } from '#sim/steps.ts';
import type { Bench, Json, JsonObject, Plan } from '../adapter.ts';

export interface CpuBench extends Bench {
  /** frames of the virtual-APIC page and of the APIC-access page */
  readonly vapic: number;
  readonly accessPage: number;
  /** the vCPU of the case, the CPU below it, and the actor that is its thread */
  readonly vcpu: Machine['vcpu'][number];
  /** words of the virtual-APIC page before the last operation */
  before: readonly number[];
  /** vectors of the EOI-induced exits, in order */
  readonly eoiExits: number[];
  handler: Program;
  eventDelivery: boolean;
}

export const VCPU = 0;

/** Register page, APIC-access page, the virtual-APIC page of the case, frame 0. */
const frames = 4;

/** The MSR bitmap intercepts everything, no control is 1, the virtual-APIC page is empty. */
export function prepare({ profile }: Plan): CpuBench {
  const m = boot({
    vcpus: 1,
    frames,
    memoryPages: 0,
    boot: 'settled',
    enableApicv: true,
    switches: profileOf(profile)!.switches,
    actors: [
      { name: 'vcpu0', kind: 'vcpu', index: 0, program: [] },
      { name: 'irq0', kind: 'irq', index: 0, program: [] },
    ],
  });
  const vcpu = m.vcpu[VCPU]!;
  const vapic = alloc_page(m);
  const { vmcs01, msr_bitmap } = vcpu;
  vmcs01.virtual_apic_page_addr = pfn_to_hpa(vapic);
  vmcs01.posted_intr_desc_addr = hpaOfPiDesc(VCPU);
  for (const field of [
    vmcs01.pin_based_vm_exec_control,
    vmcs01.cpu_based_vm_exec_control,
    vmcs01.secondary_vm_exec_control,
    vmcs01.vm_exit_controls,
  ]) {
    field.clearAll();
  }
  // Translation is no matter of the cases: it goes on through the same EPT.
  vmcs01.secondary_vm_exec_control.set(secondaryControl.EPT);
  vmcs01.secondary_vm_exec_control.set(secondaryControl.VPID);
  for (let word = 0; word < 8; word++) {
    msr_bitmap.x2apic_read.setWord(word, 0xffff_ffff);
    msr_bitmap.x2apic_write.setWord(word, 0xffff_ffff);
  }
  return {
    m,
    vcpu,
    vapic,
    accessPage: hpa_to_pfn(vmcs01.apic_access_addr),
    before: [],
    eoiExits: [],
    handler: [],
    eventDelivery: false,
  };
}

/** Runs a function of the hardware in the place of the vCPU's thread. */
export const run = <R>({ m }: CpuBench, call: Call<R>): R => perform(m, VCPU, call);

export const readWord = ({ m }: CpuBench, frame: number, offset: number): number =>
  readFrame(m, frame, offset);

/** Lays words on a page by their offsets. */
export function layWords({ m }: CpuBench, frame: number, words: Json): void {
  for (const [offset, value] of Object.entries(words as JsonObject)) {
    writeFrame(m, frame, Number(offset), Number(value));
  }
}

export const wordsOf = (bench: CpuBench): number[] =>
  Array.from({ length: PAGE_SIZE / 4 }, (_, i) => readWord(bench, bench.vapic, 4 * i));

/** The vectors of a set in the virtual-APIC page, ascending. */
export const vectorsAt = (bench: CpuBench, register: number): number[] =>
  Array.from({ length: 256 }, (_, vector) => vector).filter((vector) => {
    const word = readWord(bench, bench.vapic, register + (vector >>> 5) * 16);
    return ((word >>> (vector & 31)) & 1) === 1;
  });

/**
 * An address of a case. A double does not hold every 64-bit number: those that it cannot hold are
 * a fault, but for all ones, which the fields keep apart.
 */
export function addressOf(value: Json): number {
  const whole = BigInt(value as string | number);
  const number = Number(whole);
  const allOnes = whole === 2n ** 64n - 1n;
  if (!allOnes && BigInt(number) !== whole) throw new Error(`${value} does not fit a double`);
  return number;
}
