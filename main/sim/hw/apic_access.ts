/** Accesses to the APIC-access page: which the CPU serves from the virtual-APIC page, and how. */
import {
  APIC_EOI,
  APIC_ESR,
  APIC_ICR,
  APIC_ICR2,
  APIC_ID,
  APIC_ISR,
  APIC_LDR,
  APIC_LVR,
  APIC_LVTERR,
  APIC_LVTT,
  APIC_SPIV,
  APIC_TASKPRI,
  APIC_TDCR,
  APIC_TMICT,
} from '../state/apicdef.ts';
import { cpuControl, exitReason, secondaryControl } from '../state/vmcs.ts';
import { type Machine, sdm } from '../steps.ts';
import { readVirtualApic, writeVirtualApic } from './apic_virtualization.ts';
import { icrVirtualization, ipivOn, ipivServesIcrAlone } from './ipi_virtualization.ts';
import { eoiVirtualization, tprVirtualization } from './virtual_interrupts.ts';
import { currentVmcs, exitFor, primaryOn, secondaryOn, type VmcsView } from './vmcs.ts';

/** What the CPU does with an access; those from SERVE on are served from the virtual-APIC page. */
export const treatment = { EXIT: 0, SERVE: 1, APIC_WRITE: 2, TPR: 3, EOI: 4, ICR: 5, ICR2: 6 };

const E = treatment.EXIT;
const V = treatment.SERVE;
const W = treatment.APIC_WRITE;
const { TPR, EOI, ICR, ICR2 } = treatment;

/**
 * A range of registers; the columns are the combinations of APIC-register virtualization (R) and
 * virtual-interrupt delivery (V): none, V, R, R and V.
 */
interface Row {
  readonly from: number;
  readonly to: number;
  readonly read: readonly [number, number, number, number];
  readonly write: readonly [number, number, number, number];
}

/**
 * Registers that are in no row always exit.
 * @sdm 30.4.2 Virtualizing Reads, 30.4.3 Virtualizing Writes
 */
const rows: readonly Row[] = [
  { from: APIC_ID, to: APIC_ID, read: [E, E, V, V], write: [E, E, W, W] },
  { from: APIC_LVR, to: APIC_LVR, read: [E, E, V, V], write: [E, E, E, E] },
  { from: APIC_TASKPRI, to: APIC_TASKPRI, read: [V, V, V, V], write: [TPR, TPR, TPR, TPR] },
  { from: APIC_EOI, to: APIC_EOI, read: [E, V, V, V], write: [E, EOI, W, EOI] },
  { from: APIC_LDR, to: APIC_SPIV, read: [E, E, V, V], write: [E, E, W, W] },
  { from: APIC_ISR, to: APIC_ESR - 0x10, read: [E, E, V, V], write: [E, E, E, E] },
  { from: APIC_ESR, to: APIC_ESR, read: [E, E, V, V], write: [E, E, W, W] },
  { from: APIC_ICR, to: APIC_ICR, read: [E, V, V, V], write: [E, ICR, ICR, ICR] },
  { from: APIC_ICR2, to: APIC_ICR2, read: [E, E, V, V], write: [E, E, ICR2, ICR2] },
  { from: APIC_LVTT, to: APIC_LVTERR, read: [E, E, V, V], write: [E, E, W, W] },
  { from: APIC_TMICT, to: APIC_TMICT, read: [E, E, V, V], write: [E, E, W, W] },
  { from: APIC_TDCR, to: APIC_TDCR, read: [E, E, V, V], write: [E, E, W, W] },
];

const registers = 0x400 / 16;
const columns = 4;

/** The rows spread out: a treatment for each register, column and kind of access. */
const spread = (kind: 'read' | 'write'): Uint8Array => {
  const table = new Uint8Array(registers * columns);
  for (const row of rows) {
    for (let offset = row.from; offset <= row.to; offset += 16) {
      table.set(row[kind], (offset / 16) * columns);
    }
  }
  return table;
};

const ofReads = spread('read');
const ofWrites = spread('write');

const columnOf = (vmcs: VmcsView): number =>
  (secondaryOn(vmcs, secondaryControl.APIC_REGISTER_VIRT) ? 2 : 0) +
  (secondaryOn(vmcs, secondaryControl.VIRTUAL_INTR_DELIVERY) ? 1 : 0);

/** Is this combination the one where only IPI virtualization makes the ICR writable? */
const icrForIpiv = (vmcs: VmcsView, offset: number, write: boolean): boolean =>
  write && offset === APIC_ICR && ipivServesIcrAlone && ipivOn(vmcs);

/**
 * What the CPU does with an access at an offset of the page. It has to lie in the low 4 bytes of a
 * register; without APIC-register virtualization it has to begin at the register, too. Behind a
 * write that does not, the page is changed, and the hypervisor must see to the rest.
 */
export const treatmentOf = (
  vmcs: VmcsView,
  offset: number,
  width: number,
  write: boolean,
): number => {
  const within = offset & 15;
  if (!primaryOn(vmcs, cpuControl.TPR_SHADOW)) return E;
  if (within + width > 4 || offset >= registers * 16) return E;
  const column = columnOf(vmcs);
  if (within !== 0 && column < 2) return E;
  const found = (write ? ofWrites : ofReads)[(offset >>> 4) * columns + column]!;
  if (found === E && icrForIpiv(vmcs, offset, write)) return ICR;
  return within !== 0 && (found === TPR || found === EOI || found === ICR) ? W : found;
};

/** Bits 15:12 of the exit qualification. @sdm Table 28-6 */
const accessType = { READ: 0, WRITE: 1, EVENT_DELIVERY: 3 } as const;

/** The exit of an access that is not served; the guest stands before the instruction. */
export const apicAccessExit = (
  vmcs: VmcsView,
  offset: number,
  write: boolean,
  eventDelivery: boolean,
): number => {
  const kind = write ? accessType.WRITE : accessType.READ;
  const type = eventDelivery ? accessType.EVENT_DELIVERY : kind;
  return exitFor(vmcs, exitReason.APIC_ACCESS, (type << 12) | offset);
};

/** What a write leaves of a register; the other bits are cleared behind it. */
const maskOf = (action: number): number => {
  switch (action) {
    case TPR:
      return 0xff;
    case EOI:
      return 0;
    case ICR2:
      return 0xff00_0000;
    default:
      return 0xffff_ffff;
  }
};

/**
 * What comes behind an instruction that wrote to the virtual-APIC page; gives an exit reason, NONE
 * if the guest goes on.
 */
export const apicWriteEmulation = sdm(
  '30.4.3.2',
  function* apicWriteEmulation(m: Machine, vcpu: number, offset: number, action: number) {
    const register = offset & ~15;
    const mask = maskOf(action);
    if ((readVirtualApic(m, vcpu, register) & ~mask) !== 0) {
      yield m.step('clear what a write of offset {register} must not leave', register);
      writeVirtualApic(m, vcpu, register, readVirtualApic(m, vcpu, register) & mask);
    }
    switch (action) {
      case TPR:
        return yield* tprVirtualization(m, vcpu);
      case EOI:
        return yield* eoiVirtualization(m, vcpu);
      case ICR: {
        const icr = readVirtualApic(m, vcpu, APIC_ICR);
        const apicId = readVirtualApic(m, vcpu, APIC_ICR2) >>> 24;
        return yield* icrVirtualization(m, vcpu, icr, apicId);
      }
      case ICR2:
        return exitReason.NONE as number;
      default:
        return exitFor(currentVmcs(m, vcpu), exitReason.APIC_WRITE, offset);
    }
  },
);
