// What L1 does before it runs L2: its APIC, its VMCS, and the memory that the VMCS names.

import { writeFrame } from '#sim/hw/memory.ts';
import { PAGE_SIZE } from '#sim/state/machine.ts';
import type { Instruction, Program } from '#sim/state/program.ts';
import { secondaryControl } from '#sim/state/vmcs.ts';
import { VMCS12_REVISION, vmcs12Fields } from '#sim/state/vmcs12.ts';
import type { Json, JsonObject } from '../adapter.ts';
import { controlOf, frameOf } from '../kvm/l1.ts';
import { halvesOf, numberOf } from '../kvm/words.ts';
import { type L1Bench, page } from './bench.ts';

const APIC_BASE_MSR = 0x1b;
const APIC_BASE = 0xfee0_0000;
const APIC_BSP = 1 << 8;
const APIC_ENABLE = 1 << 11;
const RFLAGS_IF = 1 << 9;
/** Four levels, write-back; the first word of the page is 0: every address is its own. */
const EPTP_BITS = 0x1e;

const instruction = (op: Instruction['op'], ...operands: number[]): Instruction =>
  ({ op, operands }) as Instruction;

/** What L1 has done with its APIC. */
const modes: Readonly<Record<string, Program>> = {
  x2apic: [],
  'disabled-then-xapic': [
    instruction('wrmsr', APIC_BASE_MSR, APIC_BASE | APIC_BSP),
    instruction('wrmsr', APIC_BASE_MSR, (APIC_BASE | APIC_BSP | APIC_ENABLE) >>> 0),
  ],
};

function modeProgram(given: JsonObject): Program {
  const { mode = 'x2apic' } = (given['l1_lapic'] ?? {}) as JsonObject;
  const found = Object.hasOwn(modes, String(mode)) ? modes[String(mode)] : undefined;
  if (found === undefined) throw new Error(`no adapter knows the mode ${String(mode)}`);
  return found;
}

/** The control fields of the VMCS; every L2 has an EPT. */
function controlFields(names: Json | undefined): Record<string, number> {
  const words: Record<string, number> = {
    secondary_vm_exec_control: 1 << secondaryControl.EPT,
  };
  for (const name of (names ?? []) as readonly Json[]) {
    const { field, bit } = controlOf(name);
    words[field] = ((words[field] ?? 0) | (1 << bit)) >>> 0;
  }
  return words;
}

const statusOf = ({ rvi, svi }: JsonObject): number =>
  numberOf(rvi ?? 0) | (numberOf(svi ?? 0) << 8);

function fieldsOf(given: JsonObject): Record<string, number> {
  return {
    ...controlFields(given['controls']),
    ept_pointer: page.EPT + EPTP_BITS,
    msr_bitmap: page.MSR_BITMAP,
    virtual_apic_page_addr: page.VAPIC,
    posted_intr_desc_addr: page.DESCRIPTOR,
    posted_intr_nv: numberOf(given['posted_intr_notification_vector'] ?? 0),
    guest_intr_status: statusOf(given),
    guest_rflags: given['rflags_if'] === true ? RFLAGS_IF : 0,
  };
}

/** From power-on into L2. */
export const programOfL1 = ({ given }: L1Bench): Program => [
  ...modeProgram(given),
  instruction('vmxon', page.VMXON),
  instruction('vmclear', page.VMCS),
  instruction('vmptrld', page.VMCS),
  ...Object.entries(fieldsOf(given)).map(([field, value]) =>
    instruction('vmwrite', vmcs12Fields[field]!, value, 0),
  ),
  instruction('vmlaunch'),
];

/** In the bitmap: reads of low MSRs, of high ones, writes of low ones, of high ones. */
const bytesOfPart = 1024;
const firstX2apic = 0x800 / 8;
const bytesOfX2apic = 0x100 / 8;

const isX2apic = (offset: number): boolean => {
  const part = Math.floor(offset / bytesOfPart);
  const inPart = offset % bytesOfPart;
  return part % 2 === 0 && inPart >= firstX2apic && inPart < firstX2apic + bytesOfX2apic;
};

/** What the bitmaps that the cases name intercept. */
const bitmaps: Readonly<Record<string, (offset: number) => boolean>> = {
  'x2apic-pass-through': (offset) => !isX2apic(offset),
  'pass-through': () => false,
};

/** The memory of L1 as it finds it. */
export function layMemory({ m, given }: L1Bench): void {
  writeFrame(m, frameOf(m, page.VMXON), 0, VMCS12_REVISION);
  writeFrame(m, frameOf(m, page.VMCS), 0, VMCS12_REVISION);
  for (const [offset, word] of Object.entries((given['vapic'] ?? {}) as JsonObject)) {
    writeFrame(m, frameOf(m, page.VAPIC), numberOf(offset), halvesOf(word).low);
  }
  const name = String(given['msr_bitmap']);
  const intercepts = Object.hasOwn(bitmaps, name) ? bitmaps[name] : undefined;
  if (intercepts === undefined) throw new Error(`no adapter knows msr_bitmap "${name}"`);
  const bitmap = frameOf(m, page.MSR_BITMAP);
  for (let offset = 0; offset < PAGE_SIZE; offset += 4) {
    if (intercepts(offset)) writeFrame(m, bitmap, offset, 0xffff_ffff);
  }
}
