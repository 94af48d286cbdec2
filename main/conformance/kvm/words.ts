// The words of the cases for what the model numbers: modes, states, reasons, controls, names.

import { logicalMode } from '#sim/state/apic_map.ts';
import { mpState, vcpuMode } from '#sim/state/vcpu.ts';
import { apicvInhibitReason } from '#sim/state/vm.ts';
import { secondaryControl } from '#sim/state/vmcs.ts';
import type { Json, JsonObject } from '../adapter.ts';

export const mpStates: Readonly<Record<string, number>> = {
  runnable: mpState.RUNNABLE,
  uninitialized: mpState.UNINITIALIZED,
  'init-received': mpState.INIT_RECEIVED,
  halted: mpState.HALTED,
  'sipi-received': mpState.SIPI_RECEIVED,
  'ap-reset-hold': mpState.AP_RESET_HOLD,
};

export const vcpuModes: Readonly<Record<string, number>> = {
  'outside-guest': vcpuMode.OUTSIDE_GUEST_MODE,
  'in-guest': vcpuMode.IN_GUEST_MODE,
  'exiting-guest': vcpuMode.EXITING_GUEST_MODE,
};

export const logicalMaps: Readonly<Record<string, number>> = {
  'all-software-disabled': logicalMode.SW_DISABLED,
  'xapic-cluster': logicalMode.XAPIC_CLUSTER,
  'xapic-flat': logicalMode.XAPIC_FLAT,
  x2apic: logicalMode.X2APIC,
  disabled: logicalMode.MAP_DISABLED,
};

export const secondaryControls: Readonly<Record<string, number>> = {
  'virtualize-apic-accesses': secondaryControl.VIRTUALIZE_APIC_ACCESSES,
  'virtualize-x2apic-mode': secondaryControl.VIRTUALIZE_X2APIC_MODE,
  'apic-register-virtualization': secondaryControl.APIC_REGISTER_VIRT,
  'virtual-interrupt-delivery': secondaryControl.VIRTUAL_INTR_DELIVERY,
};

export const inhibitReasons: Readonly<Record<string, number>> = apicvInhibitReason;

/** ICR bits 10:8. */
export const deliveryModes: Readonly<Record<string, number>> = {
  fixed: 0x000,
  'lowest-priority': 0x100,
  smi: 0x200,
  'remote-read': 0x300,
  nmi: 0x400,
  init: 0x500,
  startup: 0x600,
  extint: 0x700,
};

export const destModes: Readonly<Record<string, number>> = { physical: 0, logical: 0x800 };

/** ICR bits 19:18. */
export const shorthands: Readonly<Record<string, number>> = {
  none: 0,
  self: 0x4_0000,
  'all-including-self': 0x8_0000,
  'all-but-self': 0xc_0000,
};

export function numberFor(table: Readonly<Record<string, number>>, word: Json | undefined): number {
  const found = typeof word === 'string' && Object.hasOwn(table, word) ? table[word] : undefined;
  if (found === undefined) throw new Error(`there is no number for ${JSON.stringify(word)}`);
  return found;
}

export const nameFor = (table: Readonly<Record<string, number>>, value: number): string =>
  Object.keys(table).find((name) => table[name] === value) ?? `number ${value}`;

/** Names of the bits that are set, by bit. */
export const namesOf = (
  table: Readonly<Record<string, number>>,
  has: (bit: number) => boolean,
): string[] => Object.keys(table).filter((name) => has(table[name]!));

/** A number, or a hex string that a double holds exactly. */
export function numberOf(value: Json | undefined): number {
  const number = typeof value === 'string' && /^0x[0-9a-f]+$/i.test(value) ? Number(value) : value;
  if (typeof number !== 'number' || !Number.isFinite(number)) {
    throw new Error(`${JSON.stringify(value)} is not a number`);
  }
  if (typeof value === 'string' && BigInt(number) !== BigInt(value)) {
    throw new Error(`${value} has more digits than a number can hold`);
  }
  return number;
}

/** A 64-bit value in two halves. */
export function halvesOf(value: Json | undefined): { low: number; high: number } {
  if (typeof value !== 'string' && typeof value !== 'number') {
    throw new Error(`${JSON.stringify(value)} is not a number`);
  }
  const whole = BigInt(value);
  return { low: Number(whole & 0xffff_ffffn), high: Number((whole >> 32n) & 0xffff_ffffn) };
}

/** Records of a list; anything else in it is a fault of the case. */
export function recordsOf(value: Json | undefined): JsonObject[] {
  if (!Array.isArray(value)) throw new Error('a list of records is missing');
  return value as JsonObject[];
}

export const numbersOf = (value: Json | undefined): number[] =>
  Array.isArray(value) ? value.map((one: Json) => numberOf(one)) : [];
