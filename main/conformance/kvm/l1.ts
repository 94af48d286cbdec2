// A guest that is a hypervisor: its memory, and the VMCS that it has made current.

import { alloc_page } from '#sim/host/frames.ts';
import { pteOf } from '#sim/host/page_table.ts';
import { writeField } from '#sim/kvm/vmx/nested/vmcs12_fields.ts';
import { hvaOfGuestPage } from '#sim/state/addresses.ts';
import { PAGE_SIZE } from '#sim/state/machine.ts';
import { vmcs12Fields } from '#sim/state/vmcs12.ts';
import type { Machine } from '#sim/steps.ts';
import type { Bench, Json } from '../adapter.ts';
import { type Control, controls } from '../vmx_cpu/words.ts';
import { done, need } from './functions.ts';
import { halvesOf } from './words.ts';

/** Where L1 has its VMCS; its VMXON region needs no memory once VMXON is over. */
export const VMPTR = 0;

/** VMXON and VMPTRLD have been executed. */
export function beginVmx({ m }: Bench): void {
  done(m, 0, need('enter_vmx_operation')(m, 0));
  done(m, 0, need('set_current_vmptr')(m, 0, VMPTR));
}

/** VMWRITE of a field by its name in vmcs12. */
export function vmwrite({ m }: Bench, field: string, value: Json): void {
  const encoding = vmcs12Fields[field];
  if (encoding === undefined) throw new Error(`vmcs12 has no field ${field}`);
  writeField(m, 0, encoding, halvesOf(value));
}

export function controlOf(name: Json): Control {
  const control = Object.hasOwn(controls, String(name)) ? controls[String(name)] : undefined;
  if (control === undefined) throw new Error(`no adapter knows control "${String(name)}"`);
  return control;
}

/** The controls of vmcs12 that are 1. */
export function layControls({ m }: Bench, names: Json): void {
  if (!Array.isArray(names)) throw new Error('controls are no list');
  for (const name of names) {
    const { field, bit } = controlOf(name);
    m.vcpu[0]!.nested.cached_vmcs12[field].set(bit);
  }
}

/** What the suites call the addresses in vmcs12. */
export const addressFields = {
  virtual_apic_addr: 'virtual_apic_page_addr',
  apic_access_addr: 'apic_access_addr',
  posted_intr_desc_addr: 'posted_intr_desc_addr',
  msr_bitmap_addr: 'msr_bitmap',
} as const;

const entryOf = (m: Machine, gpa: number): Machine['pte'][number] => {
  const entry = m.pte[pteOf(m, hvaOfGuestPage(Math.floor(gpa / PAGE_SIZE)))];
  if (entry === undefined) throw new Error(`L1 has no memory at ${gpa}`);
  return entry;
};

/** There is no memory behind the address. */
export const takeAway = (m: Machine, gpa: number): void => {
  entryOf(m, gpa).used = false;
};

/** The frame of a page of L1, which is in memory from now on. */
export function frameOf(m: Machine, gpa: number): number {
  const entry = entryOf(m, gpa);
  if (!entry.present) {
    entry.pfn = alloc_page(m);
    entry.present = true;
  }
  return entry.pfn;
}

/** The guest-physical address of a frame of L1's memory; undefined for any other frame. */
export function gpaOf(m: Machine, pfn: number): number | undefined {
  const entry = m.pte.find((one) => one.used && one.present && one.pfn === pfn);
  if (entry === undefined) return undefined;
  return entry.hva - hvaOfGuestPage(0);
}
