/** The in-kernel IOAPIC: lines, redirection table, remote IRR, and who still has to EOI. */
import { ioapicLockFree } from '../host/locks.ts';
import {
  APIC_DEST_LOGICAL,
  APIC_DEST_NOSHORT,
  APIC_DM_FIXED,
  APIC_SPIV_DIRECTED_EOI,
} from '../state/apicdef.ts';
import { IOAPIC_NUM_PINS, RTC_GSI, redirection } from '../state/ioapic.ts';
import { KVM_REQ } from '../state/requests.ts';
import { irqchipMode } from '../state/vm.ts';
import { type Body, type Condition, kvm, type Machine } from '../steps.ts';
import { kvm_make_all_cpus_request, kvm_make_vcpus_request_mask } from './kvm_main.ts';
import {
  type KvmLapicIrq,
  kvm_apic_match_dest,
  kvm_bitmap_or_dest_vcpus,
  noSource,
} from './lapic/destination.ts';
import { kvm_irq_delivery_to_apic } from './lapic/ipi.ts';
import { kvm_apic_pending_eoi } from './lapic/priority.ts';

const file = 'arch/x86/kvm/ioapic.c';

/** HZ / 100: the pause that a storm is given. */
const eoiInjectDelayNs = 10_000_000;

const isLevel = (low: number): boolean => (low & redirection.LEVEL) !== 0;
const vectorOf = (low: number): number => low & redirection.VECTOR;

function* lock(m: Machine): Body<void> {
  yield m.park('take ioapic.lock', ioapicLockFree);
  m.vm.ioapic.lock = m.current + 1;
}

function* unlock(m: Machine): Body<void> {
  yield m.step('release ioapic.lock');
  m.vm.ioapic.lock = 0;
}

/** What an entry of the redirection table sends. */
const irqOf = (low: number, high: number): KvmLapicIrq => ({
  vector: vectorOf(low),
  delivery_mode: low & redirection.DELIVERY_MODE,
  dest_mode: low & redirection.DEST_MODE ? APIC_DEST_LOGICAL : 0,
  shorthand: APIC_DEST_NOSHORT,
  level: true,
  trig_mode: isLevel(low),
  dest_id: high >>> 24,
  msi_redir_hint: false,
});

/** The RTC's next interrupt waits for the EOIs of the last: guests count them to keep time. */
const rtc_irq_check_coalesced = (m: Machine): boolean => m.vm.ioapic.rtc_pending_eoi > 0;

/** Sends the interrupt of a pin, unless it is masked or was sent and has no EOI yet. */
const ioapic_service = kvm(
  file,
  function* ioapic_service(m: Machine, pin: number, lineStatus: boolean) {
    const { ioapic } = m.vm;
    const entry = ioapic.redirtbl[pin]!;
    yield m.step('pin {pin}: is it masked, or its remote IRR set?', pin);
    const { low, high } = entry;
    if ((low & redirection.MASK) !== 0) return -1;
    if (isLevel(low) && (low & redirection.REMOTE_IRR) !== 0) return -1;
    const tracked = pin === RTC_GSI && lineStatus;
    const result: number = yield* kvm_irq_delivery_to_apic(m, noSource, irqOf(low, high), tracked);
    if (tracked) {
      yield m.step('so many vCPUs have to EOI: {count}', Math.max(0, result));
      ioapic.rtc_pending_eoi = Math.max(0, result);
    }
    if (result !== 0 && isLevel(low)) {
      yield m.step('set the remote IRR of pin {pin}', pin);
      entry.low |= redirection.REMOTE_IRR;
    }
    return result;
  },
);

/**
 * The level of a pin, of all sources together: 0 if an earlier edge or RTC interrupt still waits,
 * 1 if it was lowered, else what the delivery gives.
 * @omits irr_delivered, which only KVM_GET_IRQCHIP shows
 */
const ioapic_set_irq = kvm(
  file,
  function* ioapic_set_irq(m: Machine, pin: number, level: number, lineStatus: boolean) {
    const { ioapic } = m.vm;
    if (level === 0) {
      yield m.step('IRR: clear pin {pin}', pin);
      ioapic.irr.clear(pin);
      return 1;
    }
    if (pin === RTC_GSI && lineStatus) {
      yield m.step('does a vCPU still have to EOI the last RTC interrupt?');
      if (rtc_irq_check_coalesced(m)) return 0;
    }
    yield m.step('IRR: set pin {pin}', pin);
    const waited = ioapic.irr.set(pin);
    if (waited && !isLevel(ioapic.redirtbl[pin]!.low)) return 0;
    const result: number = yield* ioapic_service(m, pin, lineStatus);
    return result;
  },
);

/** A line changes; `lineStatus`: the caller wants to know of coalesced RTC interrupts. */
export const kvm_ioapic_set_irq = kvm(
  file,
  function* kvm_ioapic_set_irq(m: Machine, pin: number, level: number, lineStatus?: boolean) {
    const { ioapic } = m.vm;
    yield* lock(m);
    yield m.step('line of pin {pin}: {level}', pin, level);
    if (level === 0) ioapic.line.clear(pin);
    else ioapic.line.set(pin);
    const result: number = yield* ioapic_set_irq(m, pin, level, lineStatus === true);
    yield* unlock(m);
    return result;
  },
);

/** Every vCPU that a route named, or names now, looks at the routes again before it runs on. */
function* scanAffected(m: Machine, oldHigh: number, pin: number): Body<void> {
  const { low, high } = m.vm.ioapic.redirtbl[pin]!;
  if ((low & redirection.DELIVERY_MODE) !== APIC_DM_FIXED) {
    yield* kvm_make_all_cpus_request(m, KVM_REQ.SCAN_IOAPIC);
    return;
  }
  yield m.step('which vCPUs does the entry name, and which did it name?');
  // The old destination is read with the new mode: KVM does not keep the old one.
  const vcpus =
    kvm_bitmap_or_dest_vcpus(m, irqOf(low, high)) |
    kvm_bitmap_or_dest_vcpus(m, irqOf(low, oldHigh));
  yield* kvm_make_vcpus_request_mask(m, KVM_REQ.SCAN_IOAPIC, vcpus);
}

const readOnly = redirection.REMOTE_IRR | redirection.DELIVERY_STATUS;

/** The guest writes half of an entry. @omits mask notifiers and resampling irqfds */
function* writeRedirection(m: Machine, pin: number, high: boolean, value: number): Body<void> {
  const { ioapic } = m.vm;
  const entry = ioapic.redirtbl[pin]!;
  yield m.step('write half {half} of the entry of pin {pin}: {value}', high ? 1 : 0, pin, value);
  const oldHigh = entry.high;
  if (high) entry.high = value;
  else entry.low = (value & ~readOnly) | (entry.low & readOnly);
  // Guests rely on it to end an interrupt on IOAPICs that have no EOI register.
  if (!isLevel(entry.low)) entry.low &= ~redirection.REMOTE_IRR;
  // Who has to scan waits for the lock before it runs on: its EOI will exit.
  const early = m.on('ioapic-scan-before-service');
  if (early) yield* scanAffected(m, oldHigh, pin);
  if (isLevel(entry.low) && ioapic.irr.has(pin)) yield* ioapic_service(m, pin, false);
  if (!early) yield* scanAffected(m, oldHigh, pin);
}

const IOAPIC_REG_APIC_ID = 0;
const IOAPIC_REG_VERSION = 1;
const IOAPIC_REG_ARB_ID = 2;
export const IOAPIC_REG_REDIRECTION = 0x10;

/** Writes the register that is selected; ioapic.lock is held. */
const ioapic_write_indirect = kvm(
  file,
  function* ioapic_write_indirect(m: Machine, register: number, value: number) {
    const pin = (register - IOAPIC_REG_REDIRECTION) >> 1;
    if (register === IOAPIC_REG_APIC_ID) {
      yield m.step('write the ID: {value}', value);
      m.vm.ioapic.id = (value >>> 24) & 0xf;
    }
    if (pin < 0 || pin >= IOAPIC_NUM_PINS) return;
    yield* writeRedirection(m, pin, (register & 1) !== 0, value);
  },
);

export const IOAPIC_REG_SELECT = 0x00;
export const IOAPIC_REG_WINDOW = 0x10;

/** A write to one of the two registers that the guest sees. */
export const ioapic_mmio_write = kvm(
  file,
  function* ioapic_mmio_write(m: Machine, offset: number, value: number) {
    const { ioapic } = m.vm;
    yield* lock(m);
    if (offset === IOAPIC_REG_SELECT) {
      yield m.step('select register {register}', value & 0xff);
      ioapic.ioregsel = value & 0xff;
    } else if (offset === IOAPIC_REG_WINDOW) {
      yield* ioapic_write_indirect(m, ioapic.ioregsel, value);
    }
    yield* unlock(m);
  },
);

/** What a number has that no register has. */
const noRegister = 0xffff_ffff;
const IOAPIC_VERSION_ID = 0x11;

/** The register that is selected. @kvm arch/x86/kvm/ioapic.c */
export const ioapic_read_indirect = ({ ioapic }: Machine['vm']): number => {
  const register = ioapic.ioregsel;
  if (register === IOAPIC_REG_VERSION) return ((IOAPIC_NUM_PINS - 1) << 16) | IOAPIC_VERSION_ID;
  if (register === IOAPIC_REG_APIC_ID || register === IOAPIC_REG_ARB_ID) return ioapic.id << 24;
  const entry = ioapic.redirtbl[(register - IOAPIC_REG_REDIRECTION) >> 1];
  if (entry === undefined) return noRegister;
  return (register & 1) === 0 ? entry.low : entry.high;
};

/** A read of one of the two registers that the guest sees; other offsets give 0. */
export const ioapic_mmio_read = kvm(file, function* ioapic_mmio_read(m: Machine, offset: number) {
  yield* lock(m);
  yield m.step('read the register at {offset}', offset);
  const selected = offset === IOAPIC_REG_SELECT ? m.vm.ioapic.ioregsel : 0;
  const result = offset === IOAPIC_REG_WINDOW ? ioapic_read_indirect(m.vm) : selected;
  yield* unlock(m);
  return result;
});

/** The EOI of a vCPU that got the last RTC interrupt. */
const rtc_irq_eoi = (m: Machine, vcpu: number, vector: number): void => {
  const { ioapic } = m.vm;
  if (!ioapic.rtc_dest.has(vcpu) || ioapic.rtc_vector[vcpu]!.vector !== vector) return;
  ioapic.rtc_dest.clear(vcpu);
  ioapic.rtc_pending_eoi--;
};

/** The line is still up after an EOI: it is sent again, and in a storm only after a pause. */
function* sendAgain(m: Machine, pin: number): Body<void> {
  const { ioapic, now } = m.vm;
  const entry = ioapic.redirtbl[pin]!;
  yield m.step('pin {pin}: is it unmasked, and its line still up?', pin);
  if ((entry.low & redirection.MASK) !== 0 || !ioapic.irr.has(pin)) {
    entry.eoi_count = 0;
    return;
  }
  entry.eoi_count++;
  if (entry.eoi_count < ioapic.successive_irq_max) {
    yield* ioapic_service(m, pin, false);
    return;
  }
  yield m.step('interrupt storm: schedule the delayed injection');
  if (!ioapic.eoi_inject.any()) ioapic.eoi_inject_due = now + eoiInjectDelayNs;
  ioapic.eoi_inject.set(pin);
  entry.eoi_count = 0;
}

/**
 * One pin that sends the vector. The lock is dropped for the ack notifiers, which may change lines;
 * remote IRR is still set then, so that what comes meanwhile waits in IRR.
 * @omits the ack notifiers themselves: resampling irqfds, the PIT
 */
const kvm_ioapic_update_eoi_one = kvm(
  file,
  function* kvm_ioapic_update_eoi_one(m: Machine, vcpu: number, pin: number, level: boolean) {
    const entry = m.vm.ioapic.redirtbl[pin]!;
    yield* unlock(m);
    yield* lock(m);
    yield m.step('was it level-triggered, and does the APIC broadcast EOIs?');
    if (!level || (m.vcpu[vcpu]!.apic.spiv & APIC_SPIV_DIRECTED_EOI) !== 0) return;
    yield m.step('clear the remote IRR of pin {pin}', pin);
    entry.low &= ~redirection.REMOTE_IRR;
    yield* sendAgain(m, pin);
  },
);

/** A vCPU has ended a vector; `level`: its TMR bit. */
export const kvm_ioapic_update_eoi = kvm(
  file,
  function* kvm_ioapic_update_eoi(m: Machine, vcpu: number, vector: number, level: boolean) {
    yield* lock(m);
    yield m.step('is vector {vector} an RTC interrupt that was waited for?', vector);
    rtc_irq_eoi(m, vcpu, vector);
    for (const entry of m.vm.ioapic.redirtbl) {
      if (vectorOf(entry.low) !== vector) continue;
      yield* kvm_ioapic_update_eoi_one(m, vcpu, entry.index, level);
    }
    yield* unlock(m);
  },
);

/** Has the pause of a storm passed? */
export const eoiInjectDue: Condition = ({ vm: { ioapic, now } }) =>
  ioapic.eoi_inject.any() && ioapic.eoi_inject_due <= now;

/** The delayed work after a storm: sends what is up and has been ended. */
export const kvm_ioapic_eoi_inject_work = kvm(
  file,
  function* kvm_ioapic_eoi_inject_work(m: Machine) {
    const { ioapic } = m.vm;
    yield* lock(m);
    yield m.step('the work is no longer pending');
    ioapic.eoi_inject.clearAll();
    for (const { index, low } of ioapic.redirtbl) {
      if (!isLevel(low) || !ioapic.irr.has(index) || (low & redirection.REMOTE_IRR) !== 0) continue;
      yield* ioapic_service(m, index, false);
    }
    yield* unlock(m);
  },
);

/** The IOAPIC in KVM had the look at what is pending five years before that of user space. */
const looksAtPending = (m: Machine): boolean => {
  const how = m.switch('eoi-pending-scan');
  return how === 'on' || (how === 'kernel' && m.vm.irqchip_mode === irqchipMode.KERNEL);
};

/**
 * A vCPU must exit at the EOI of what a route may send it, and of what an older route has sent it;
 * of the latter only until that has ended.
 * @kvm arch/x86/kvm/irq_comm.c
 */
export const kvm_scan_ioapic_irq = (m: Machine, vcpu: number, irq: KvmLapicIrq): void => {
  const target = m.vcpu[vcpu]!;
  if (kvm_apic_match_dest(m, vcpu, noSource, irq)) {
    target.ioapic_handled_vectors.set(irq.vector);
  } else if (looksAtPending(m) && kvm_apic_pending_eoi(m, vcpu, irq.vector)) {
    target.ioapic_handled_vectors.set(irq.vector);
    if (!m.on('eoi-stale-tracking')) return;
    if (irq.vector > target.highest_stale_pending_ioapic_eoi) {
      target.highest_stale_pending_ioapic_eoi = irq.vector;
    }
  }
};

/**
 * Which vectors' EOIs this vCPU must report. While the lock is held nothing new comes from a pin;
 * whoever changes an ID asks for another scan.
 */
export const kvm_ioapic_scan_entry = kvm(
  file,
  function* kvm_ioapic_scan_entry(m: Machine, vcpu: number) {
    const { ioapic } = m.vm;
    yield* lock(m);
    yield m.step('look at all entries, and at what the vCPU has pending');
    if (ioapic.rtc_dest.has(vcpu)) {
      m.vcpu[vcpu]!.ioapic_handled_vectors.set(ioapic.rtc_vector[vcpu]!.vector);
    }
    for (const { index, low, high } of ioapic.redirtbl) {
      if (isLevel(low) || index === RTC_GSI) kvm_scan_ioapic_irq(m, vcpu, irqOf(low, high));
    }
    yield* unlock(m);
  },
);

/** The state of a vCPU was replaced: does it have to EOI the RTC's interrupt? */
export const kvm_rtc_eoi_tracking_restore_one = kvm(
  file,
  function* kvm_rtc_eoi_tracking_restore_one(m: Machine, vcpu: number) {
    const { ioapic } = m.vm;
    yield* lock(m);
    yield m.step('is the RTC interrupt pending on vCPU {vcpu}?', vcpu);
    const { low, high } = ioapic.redirtbl[RTC_GSI]!;
    const irq = irqOf(low, high);
    const pending = kvm_apic_pending_eoi(m, vcpu, irq.vector);
    if (kvm_apic_match_dest(m, vcpu, noSource, irq) && pending !== ioapic.rtc_dest.has(vcpu)) {
      if (pending) {
        ioapic.rtc_dest.set(vcpu);
        ioapic.rtc_vector[vcpu]!.vector = irq.vector;
      } else ioapic.rtc_dest.clear(vcpu);
      ioapic.rtc_pending_eoi += pending ? 1 : -1;
    }
    yield* unlock(m);
  },
);
