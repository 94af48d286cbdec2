/** The registers of the local APIC: which can be read and written, and what a write does. */
import { hrtimer_cancel } from '../../host/hrtimer.ts';
import {
  APIC_ARBPRI,
  APIC_DEST_SELF,
  APIC_DFR,
  APIC_DM_NMI,
  APIC_EOI,
  APIC_ESR,
  APIC_ICR,
  APIC_ICR_BUSY,
  APIC_ICR2,
  APIC_ID,
  APIC_INPUT_POLARITY,
  APIC_IRR,
  APIC_ISR,
  APIC_LDR,
  APIC_LVR,
  APIC_LVR_DIRECTED_EOI,
  APIC_LVT_LEVEL_TRIGGER,
  APIC_LVT_MASKED,
  APIC_LVT_REMOTE_IRR,
  APIC_LVT0,
  APIC_LVTT,
  APIC_MODE_MASK,
  APIC_PROCPRI,
  APIC_SELF_IPI,
  APIC_SEND_PENDING,
  APIC_SPIV,
  APIC_SPIV_APIC_ENABLED,
  APIC_SPIV_DIRECTED_EOI,
  APIC_TASKPRI,
  APIC_TDCR,
  APIC_TMCCT,
  APIC_TMICT,
  APIC_TMR,
  APIC_VECTOR_MASK,
} from '../../state/apicdef.ts';
import { type Body, kvm, type Machine } from '../../steps.ts';
import { kvm_recalculate_apic_map } from './apic_map.ts';
import { apic_set_eoi } from './eoi.ts';
import {
  apic_set_spiv,
  kvm_apic_set_dfr,
  kvm_apic_set_ldr,
  kvm_apic_set_xapic_id,
} from './identity.ts';
import { kvm_apic_send_ipi } from './ipi.ts';
import { kvm_lapic_get_reg, kvm_lapic_set_reg, lvt, lvtOffset } from './page.ts';
import { apic_update_ppr, apic_x2apic_mode, kvm_apic_sw_enabled } from './priority.ts';
import {
  apic_update_lvtt,
  cancel_apic_timer,
  restart_apic_timer,
  start_apic_timer,
} from './timer.ts';
import {
  apic_lvtt_tscdeadline,
  currentCount,
  update_divide_count,
  update_target_expiration,
} from './timer_target.ts';
import { apic_set_tpr, report_tpr_access } from './tpr.ts';

const file = 'arch/x86/kvm/lapic.c';

/** What an access answers: REFUSED becomes #GP for an MSR, and nothing for the memory window. */
const DONE = 0;
const REFUSED = 1;
export type Outcome = typeof DONE | typeof REFUSED;

type Reader = (m: Machine, vcpu: number, offset: number) => Body<number>;
type Writer = (m: Machine, vcpu: number, value: number) => Body<Outcome>;

/** An entry of the local vector table: its number, and the bits that exist. */
interface LvtEntry {
  readonly index: number;
  readonly mask: number;
}

interface Register {
  readonly offset: number;
  /** 0 if it cannot be read */
  readonly readableIn: number;
  readonly read: Reader;
  /** undefined if it cannot be written */
  readonly write: Writer | undefined;
  readonly entry: LvtEntry | undefined;
}

/** Modes, as bits. */
const XAPIC = 1;
const X2APIC = 2;
const BOTH = XAPIC | X2APIC;

const LVT_MASK = APIC_LVT_MASKED | APIC_SEND_PENDING | APIC_VECTOR_MASK;
const LVT_MODE_MASK = LVT_MASK | APIC_MODE_MASK;
const LINT_MASK =
  LVT_MODE_MASK | APIC_INPUT_POLARITY | APIC_LVT_REMOTE_IRR | APIC_LVT_LEVEL_TRIGGER;
const SPIV_MASK = 0x3ff;
const LDR_MASK = 0xff00_0000;
const DFR_FIXED = 0x0fff_ffff;
const ICR2_MASK = 0xff00_0000;
const TDCR_MASK = 0xb;

function* readWord(m: Machine, vcpu: number, offset: number): Body<number> {
  yield m.step('read the register at {offset}', offset);
  return kvm_lapic_get_reg(m, vcpu, offset);
}

function* readZero(): Body<number> {
  return 0;
}

function* readTaskPriority(m: Machine, vcpu: number, offset: number): Body<number> {
  report_tpr_access(m, vcpu);
  return yield* readWord(m, vcpu, offset);
}

function* readProcessorPriority(m: Machine, vcpu: number, offset: number): Body<number> {
  yield* apic_update_ppr(m, vcpu);
  return yield* readWord(m, vcpu, offset);
}

function* readCurrentCount(m: Machine, vcpu: number): Body<number> {
  yield m.step('compute the current count');
  return currentCount(m, vcpu);
}

function* writeWord(m: Machine, vcpu: number, offset: number, value: number): Body<Outcome> {
  yield m.step('write {value} to the register at {offset}', value, offset);
  kvm_lapic_set_reg(m, vcpu, offset, value);
  return DONE;
}

function* writeId(m: Machine, vcpu: number, value: number): Body<Outcome> {
  if (apic_x2apic_mode(m, vcpu)) return REFUSED;
  yield* kvm_apic_set_xapic_id(m, vcpu, value >>> 24);
  return DONE;
}

function* writeTaskPriority(m: Machine, vcpu: number, value: number): Body<Outcome> {
  report_tpr_access(m, vcpu);
  yield* apic_set_tpr(m, vcpu, value & 0xff);
  return DONE;
}

function* writeEoi(m: Machine, vcpu: number): Body<Outcome> {
  yield* apic_set_eoi(m, vcpu);
  return DONE;
}

function* writeLdr(m: Machine, vcpu: number, value: number): Body<Outcome> {
  if (apic_x2apic_mode(m, vcpu)) return REFUSED;
  yield* kvm_apic_set_ldr(m, vcpu, (value & LDR_MASK) >>> 0);
  return DONE;
}

function* writeDfr(m: Machine, vcpu: number, value: number): Body<Outcome> {
  if (apic_x2apic_mode(m, vcpu)) return REFUSED;
  yield* kvm_apic_set_dfr(m, vcpu, (value | DFR_FIXED) >>> 0);
  return DONE;
}

function* writeSpiv(m: Machine, vcpu: number, value: number): Body<Outcome> {
  const { apic, spec } = m.vcpu[vcpu]!;
  const directed = (apic.lvr & APIC_LVR_DIRECTED_EOI) !== 0 ? APIC_SPIV_DIRECTED_EOI : 0;
  yield* apic_set_spiv(m, vcpu, value & (SPIV_MASK | directed));
  if ((value & APIC_SPIV_APIC_ENABLED) !== 0) return DONE;
  yield m.step('a disabled APIC masks every entry of its vector table');
  for (let index = 0; index < apic.nr_lvt_entries; index++) {
    const offset = lvtOffset(index);
    const old = kvm_lapic_get_reg(m, vcpu, offset);
    kvm_lapic_set_reg(m, vcpu, offset, old | APIC_LVT_MASKED);
  }
  spec.lvts_to_mask = true;
  yield* apic_update_lvtt(m, vcpu);
  yield m.step('pending = 0');
  apic.lapic_timer.pending = 0;
  return DONE;
}

function* writeEsr(m: Machine, vcpu: number, value: number): Body<Outcome> {
  return apic_x2apic_mode(m, vcpu) && value !== 0 ? REFUSED : DONE;
}

/** xAPIC mode only; the one 64-bit register of x2APIC mode has a function of its own. */
function* writeIcr(m: Machine, vcpu: number, value: number): Body<Outcome> {
  const { apic } = m.vcpu[vcpu]!;
  // Sending takes no time here, so that nobody ever sees it under way.
  const command = (value & ~APIC_ICR_BUSY) >>> 0;
  yield* kvm_apic_send_ipi(m, vcpu, command, apic.icr2);
  return yield* writeWord(m, vcpu, APIC_ICR, command);
}

function* writeIcr2(m: Machine, vcpu: number, value: number): Body<Outcome> {
  if (apic_x2apic_mode(m, vcpu)) return REFUSED;
  return yield* writeWord(m, vcpu, APIC_ICR2, (value & ICR2_MASK) >>> 0);
}

/** Counts the APICs whose LVT0 delivers NMIs. @kvm arch/x86/kvm/lapic.c */
export const apic_manage_nmi_watchdog = (m: Machine, vcpu: number, lvt0: number): void => {
  const { apic } = m.vcpu[vcpu]!;
  const nmi = (lvt0 & (APIC_MODE_MASK | APIC_LVT_MASKED)) === APIC_DM_NMI;
  if (apic.lvt0_in_nmi_mode === nmi) return;
  apic.lvt0_in_nmi_mode = nmi;
  m.vm.vapics_in_nmi_mode += nmi ? 1 : -1;
};

/** What becomes of a value written to an entry; a disabled APIC keeps all of them masked. */
const lvtValue = (m: Machine, vcpu: number, value: number, mask: number): number =>
  (kvm_apic_sw_enabled(m, vcpu) ? value : value | APIC_LVT_MASKED) & mask;

const lvtSupported = (m: Machine, vcpu: number, { index }: LvtEntry): boolean =>
  m.vcpu[vcpu]!.apic.nr_lvt_entries > index;

const lvtWriter = (offset: number, entry: LvtEntry): Writer =>
  function* writeLvt(m, vcpu, value) {
    if (!lvtSupported(m, vcpu, entry)) return REFUSED;
    return yield* writeWord(m, vcpu, offset, lvtValue(m, vcpu, value, entry.mask));
  };

function* writeLint0(m: Machine, vcpu: number, value: number): Body<Outcome> {
  yield m.step('count the APICs whose LVT0 delivers NMIs');
  apic_manage_nmi_watchdog(m, vcpu, value);
  return yield* writeWord(m, vcpu, APIC_LVT0, lvtValue(m, vcpu, value, LINT_MASK));
}

function* writeLvtt(m: Machine, vcpu: number, value: number): Body<Outcome> {
  const { timer_mode_mask } = m.vcpu[vcpu]!.apic.lapic_timer;
  yield* writeWord(m, vcpu, APIC_LVTT, lvtValue(m, vcpu, value, LVT_MASK | timer_mode_mask));
  yield* apic_update_lvtt(m, vcpu);
  return DONE;
}

function* writeInitialCount(m: Machine, vcpu: number, value: number): Body<Outcome> {
  if (apic_lvtt_tscdeadline(m, vcpu)) return DONE;
  yield* cancel_apic_timer(m, vcpu);
  yield* writeWord(m, vcpu, APIC_TMICT, value);
  yield* start_apic_timer(m, vcpu);
  return DONE;
}

function* writeDivisor(m: Machine, vcpu: number, value: number): Body<Outcome> {
  const { apic } = m.vcpu[vcpu]!;
  const oldDivisor = apic.divide_count;
  yield* writeWord(m, vcpu, APIC_TDCR, value & TDCR_MASK);
  update_divide_count(m, vcpu);
  if (apic.divide_count === oldDivisor || apic.lapic_timer.period === 0) return DONE;
  yield* hrtimer_cancel(m, vcpu);
  yield m.step('rescale what is left of the count');
  update_target_expiration(m, vcpu, oldDivisor);
  yield* restart_apic_timer(m, vcpu);
  return DONE;
}

/** Sends at once and keeps nothing: the word at 0x3f0 of the register page stays as it was. */
function* writeSelfIpi(m: Machine, vcpu: number, value: number): Body<Outcome> {
  if (!apic_x2apic_mode(m, vcpu) || (value & ~APIC_VECTOR_MASK) !== 0) return REFUSED;
  yield* kvm_apic_send_ipi(m, vcpu, APIC_DEST_SELF | value, 0);
  return DONE;
}

interface Access {
  readonly in?: number;
  readonly read?: Reader;
  readonly write?: Writer;
}

const register = (offset: number, { in: readableIn = BOTH, read, write }: Access): Register => ({
  offset,
  readableIn,
  read: read ?? readWord,
  write,
  entry: undefined,
});

const lvtRegister = (index: number, mask: number, write?: Writer): Register => {
  const offset = lvtOffset(index);
  const entry = { index, mask };
  const own = write ?? lvtWriter(offset, entry);
  return { offset, readableIn: BOTH, read: readWord, write: own, entry };
};

/** The eight words of a set of vectors. */
const vectorRegisters = (first: number): Register[] =>
  Array.from({ length: 8 }, (_, word) => register(first + word * 0x10, {}));

const table: readonly Register[] = [
  register(APIC_ID, { write: writeId }),
  register(APIC_LVR, {}),
  register(APIC_TASKPRI, { read: readTaskPriority, write: writeTaskPriority }),
  register(APIC_ARBPRI, { in: XAPIC, read: readZero }),
  register(APIC_PROCPRI, { read: readProcessorPriority }),
  register(APIC_EOI, { in: 0, write: writeEoi }),
  register(APIC_LDR, { write: writeLdr }),
  register(APIC_DFR, { in: XAPIC, write: writeDfr }),
  register(APIC_SPIV, { write: writeSpiv }),
  ...vectorRegisters(APIC_ISR),
  ...vectorRegisters(APIC_TMR),
  ...vectorRegisters(APIC_IRR),
  register(APIC_ESR, { write: writeEsr }),
  register(APIC_ICR, { write: writeIcr }),
  register(APIC_ICR2, { in: XAPIC, write: writeIcr2 }),
  lvtRegister(lvt.TIMER, LVT_MASK, writeLvtt),
  lvtRegister(lvt.THERMAL_MONITOR, LVT_MODE_MASK),
  lvtRegister(lvt.PERFORMANCE_COUNTER, LVT_MODE_MASK),
  lvtRegister(lvt.LINT0, LINT_MASK, writeLint0),
  lvtRegister(lvt.LINT1, LINT_MASK),
  lvtRegister(lvt.ERROR, LVT_MASK),
  lvtRegister(lvt.CMCI, LVT_MODE_MASK),
  register(APIC_TMICT, { write: writeInitialCount }),
  register(APIC_TMCCT, { read: readCurrentCount }),
  register(APIC_TDCR, { write: writeDivisor }),
  register(APIC_SELF_IPI, { in: 0, write: writeSelfIpi }),
];

const bySlot: (Register | undefined)[] = [];
for (const one of table) bySlot[one.offset >>> 4] = one;

/** A register that can be read in the mode of the APIC. @kvm kvm_lapic_readable_reg_mask */
const readable = (m: Machine, vcpu: number, offset: number): Register | undefined => {
  const found = bySlot[offset >>> 4];
  const mode = apic_x2apic_mode(m, vcpu) ? X2APIC : XAPIC;
  if (found === undefined || (found.readableIn & mode) === 0) return undefined;
  return found.entry === undefined || lvtSupported(m, vcpu, found.entry) ? found : undefined;
};

/** Reads 1, 2 or 4 bytes of a register into `guest.value`; 1 if there is nothing to read. */
export const kvm_lapic_reg_read = kvm(
  file,
  function* kvm_lapic_reg_read(m: Machine, vcpu: number, offset: number, length: number) {
    const shift = (offset & 0xf) * 8;
    const found = readable(m, vcpu, offset);
    if ((offset & 0xf) + length > 4 || found === undefined) return REFUSED as Outcome;
    const word: number = yield* found.read(m, vcpu, found.offset);
    const { guest } = m.vcpu[vcpu]!;
    guest.value = (word >>> shift) & (length === 4 ? 0xffff_ffff : 2 ** (length * 8) - 1);
    guest.value_high = 0;
    return DONE;
  },
);

/** Writes a register; 1 if it cannot be written, or not that value. */
export const kvm_lapic_reg_write = kvm(
  file,
  function* kvm_lapic_reg_write(m: Machine, vcpu: number, offset: number, value: number) {
    const write = bySlot[offset >>> 4]?.write;
    const outcome: Outcome = write === undefined ? REFUSED : yield* write(m, vcpu, value);
    // Nothing to do unless the write made the map dirty.
    yield* kvm_recalculate_apic_map(m);
    return outcome;
  },
);
