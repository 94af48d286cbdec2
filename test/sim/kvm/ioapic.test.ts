// The IOAPIC: remote IRR and EOI, the RTC, interrupt storms, routes that move, and the PIC.

import { expect, test } from 'vitest';
import { boot } from '#sim/boot.ts';
import { pic_irq_request } from '#sim/kvm/i8259.ts';
import {
  eoiInjectDue,
  IOAPIC_REG_SELECT,
  IOAPIC_REG_WINDOW,
  ioapic_mmio_read,
  ioapic_mmio_write,
  kvm_ioapic_eoi_inject_work,
  kvm_ioapic_set_irq,
  kvm_rtc_eoi_tracking_restore_one,
} from '#sim/kvm/ioapic.ts';
import {
  kvm_cpu_get_interrupt,
  kvm_cpu_has_injectable_intr,
  kvm_cpu_has_interrupt,
  kvm_vcpu_ioctl_interrupt,
} from '#sim/kvm/irq.ts';
import { kvm_set_msi } from '#sim/kvm/irq_comm.ts';
import { apic_set_eoi, vcpu_load_eoi_exitmap, vcpu_scan_ioapic } from '#sim/kvm/lapic/eoi.ts';
import { kvm_apic_ack_interrupt } from '#sim/kvm/lapic/priority.ts';
import { APIC_DM_EXTINT, APIC_SPIV_DIRECTED_EOI } from '#sim/state/apicdef.ts';
import { RTC_GSI, redirection } from '#sim/state/ioapic.ts';
import type { Program } from '#sim/state/program.ts';
import { KVM_REQ } from '#sim/state/requests.ts';
import type { Machine, Steps } from '#sim/steps.ts';
import {
  begin,
  byHand,
  complete,
  configOf,
  goOn,
  goTo,
  type SmallMachine,
  smallMachine,
} from '../small_machine.ts';
import { does, machineWith, type Wishes } from './lapic_machine.ts';

const PIN = 5;
const VECTOR = 0x51;
const LEVEL = redirection.LEVEL;

const byUser = <R>(m: Machine, call: Steps<R>): R => complete(m, 'user', () => call);

const writeEntry = (m: Machine, pin: number, half: number, value: number): void => {
  byUser(m, ioapic_mmio_write(m, IOAPIC_REG_SELECT, 0x10 + 2 * pin + half));
  byUser(m, ioapic_mmio_write(m, IOAPIC_REG_WINDOW, value));
};

const serveScans = (m: Machine): void => {
  for (const { index, requests } of m.vcpu) {
    if (!requests.clear(KVM_REQ.SCAN_IOAPIC)) continue;
    complete(m, `vcpu${index}`, () => vcpu_scan_ioapic(m, index));
  }
};

/** A level-triggered pin that goes to vCPU 0. */
const withLevelPin = (wishes: Wishes = {}): Machine => {
  const m = machineWith(wishes);
  writeEntry(m, PIN, 0, LEVEL | VECTOR);
  serveScans(m);
  return m;
};

const line = (m: Machine, level: number, pin = PIN): number =>
  byUser(m, kvm_ioapic_set_irq(m, pin, level));

/** The guest takes the vector and ends it. */
const serve = (m: Machine, vector = VECTOR): void => {
  does(m, kvm_apic_ack_interrupt(m, 0, vector));
  does(m, apic_set_eoi(m, 0));
};

const remoteIrr = (m: Machine, pin = PIN): boolean =>
  (m.vm.ioapic.redirtbl[pin]!.low & redirection.REMOTE_IRR) !== 0;

test('a level interrupt is sent once until its EOI, and again while the line is up', () => {
  const m = withLevelPin();
  const { irr } = m.vcpu[0]!.apic;
  expect([line(m, 1), irr.has(VECTOR), remoteIrr(m)]).toEqual([1, true, true]);
  does(m, kvm_apic_ack_interrupt(m, 0, VECTOR));
  expect([line(m, 1), irr.has(VECTOR)]).toEqual([-1, false]);
  does(m, apic_set_eoi(m, 0));
  expect([irr.has(VECTOR), remoteIrr(m)]).toEqual([true, true]);
  line(m, 0);
  serve(m);
  expect([irr.has(VECTOR), remoteIrr(m)]).toEqual([false, false]);
});

test('an APIC that does not broadcast EOIs leaves the remote IRR alone', () => {
  const m = withLevelPin();
  line(m, 1);
  byHand(m, () => {
    m.vcpu[0]!.apic.spiv |= APIC_SPIV_DIRECTED_EOI;
  });
  serve(m);
  expect(remoteIrr(m)).toBe(true);
});

test('an edge is remembered while its line stays up, and is not sent twice', () => {
  const m = machineWith();
  writeEntry(m, PIN, 0, VECTOR);
  expect([line(m, 1), line(m, 1), line(m, 0), line(m, 1)]).toEqual([1, 0, 1, 1]);
});

test('a vector that arrives while the lock is dropped at the EOI waits for it', () => {
  const m = withLevelPin();
  line(m, 1);
  does(m, kvm_apic_ack_interrupt(m, 0, VECTOR));
  begin(m, 'vcpu0', () => apic_set_eoi(m, 0));
  goTo(m, 'vcpu0', 'kvm_ioapic_update_eoi_one', 'take ioapic.lock');
  line(m, 0);
  expect([line(m, 1), m.vcpu[0]!.apic.irr.has(VECTOR)]).toEqual([-1, false]);
  goTo(m, 'vcpu0', 'apic_set_eoi', 'make EVENT');
  expect(m.vcpu[0]!.apic.irr.has(VECTOR)).toBe(true);
});

test('the window shows version, ID and both halves of the entry that is selected', () => {
  const m = machineWith();
  writeEntry(m, PIN, 0, LEVEL | VECTOR);
  writeEntry(m, PIN, 1, 0x0300_0000);
  const shows = (register: number): number => {
    byUser(m, ioapic_mmio_write(m, IOAPIC_REG_SELECT, register));
    return byUser(m, ioapic_mmio_read(m, IOAPIC_REG_WINDOW));
  };
  expect([shows(1), shows(0x10 + 2 * PIN), shows(0x11 + 2 * PIN)]).toEqual([
    0x17_0011,
    LEVEL | VECTOR,
    0x0300_0000,
  ]);
  expect([shows(5), shows(0x10 + 2 * 24)]).toEqual([0xffff_ffff, 0xffff_ffff]);
  expect(byUser(m, ioapic_mmio_read(m, IOAPIC_REG_SELECT))).toBe(0x40);
  expect(byUser(m, ioapic_mmio_read(m, 0x20))).toBe(0);
});

const withProgram = (m: Machine, program: Program): Machine['config']['actors'] =>
  m.config.actors.map((actor) => (actor.name === 'vcpu0' ? { ...actor, program } : actor));

/** The guest of vCPU 0 runs a program to its end; gives what it read last. */
const guestReads = (program: Program, wishes: SmallMachine = {}): number => {
  const m = smallMachine({ memoryPages: 1, ...wishes, programs: { vcpu0: program } });
  goOn(m, 'vcpu0');
  return m.vcpu[0]!.guest.value;
};

test('the guest reaches the registers of the IOAPIC, as wide as it likes', () => {
  const select: Program[number] = { op: 'write8', operands: [0xfec0_0000, 1] };
  const read = (op: 'read' | 'read8' | 'read16' | 'read64'): number =>
    guestReads([select, { op, operands: [0xfec0_0010] }]);
  expect([read('read'), read('read64'), read('read16'), read('read8')]).toEqual([
    0x17_0011, 0x17_0011, 0x11, 0x11,
  ]);
});

test('with the IOAPIC in user space a read is complete when KVM_RUN is called again', () => {
  const m = machineWith({ vm: { irqchip: 'split' } });
  const program: Program = [
    { op: 'write8', operands: [0xfec0_0000, 1] },
    { op: 'read', operands: [0xfec0_0010] },
  ];
  const split = boot({ ...m.config, actors: withProgram(m, program) });
  goTo(split, 'vcpu0', 'vcpu_run', 'KVM_RUN returns');
  const { guest, run_mmio, stat } = split.vcpu[0]!;
  expect([run_mmio.phys_addr, run_mmio.len, run_mmio.is_write, run_mmio.data]).toEqual([
    0xfec0_0000,
    1,
    true,
    1,
  ]);
  goTo(split, 'vcpu0', 'complete_emulated_mmio');
  expect([run_mmio.is_write, run_mmio.data, guest.value]).toEqual([false, 0x17_0011, 1]);
  goOn(split, 'vcpu0');
  expect([guest.value, stat.user_exits, split.vcpu[0]!.mmio_needed]).toEqual([0x17_0011, 2, false]);
});

test('after ten thousand EOIs without effect the line is given a pause', () => {
  const m = withLevelPin();
  line(m, 1);
  byHand(m, () => {
    m.vm.ioapic.redirtbl[PIN]!.eoi_count = 9_999;
  });
  serve(m);
  const { ioapic } = m.vm;
  expect([remoteIrr(m), ioapic.eoi_inject.has(PIN), ioapic.eoi_inject_due]).toEqual([
    false,
    true,
    m.vm.now + 10_000_000,
  ]);
  expect(eoiInjectDue(m, 0)).toBe(false);
  byHand(m, () => {
    m.vm.now = ioapic.eoi_inject_due;
  });
  expect(eoiInjectDue(m, 0)).toBe(true);
  byUser(m, kvm_ioapic_eoi_inject_work(m));
  expect([remoteIrr(m), ioapic.eoi_inject.any()]).toEqual([true, false]);
});

test('an RTC interrupt coalesces until every vCPU that got it has ended it', () => {
  const m = machineWith();
  writeEntry(m, RTC_GSI, 0, VECTOR);
  serveScans(m);
  const rtc = (level: number): number => byUser(m, kvm_ioapic_set_irq(m, RTC_GSI, level, true));
  expect([rtc(1), rtc(0), rtc(1)]).toEqual([1, 1, 0]);
  expect(m.vm.ioapic.rtc_pending_eoi).toBe(1);
  serve(m);
  expect([m.vm.ioapic.rtc_pending_eoi, rtc(0), rtc(1)]).toEqual([0, 1, 1]);
});

test('a vCPU whose state is replaced counts as one that must, or need not, end the RTC', () => {
  const m = machineWith();
  writeEntry(m, RTC_GSI, 0, VECTOR);
  byHand(m, () => {
    m.vcpu[0]!.apic.irr.set(VECTOR);
  });
  does(m, kvm_rtc_eoi_tracking_restore_one(m, 0));
  expect(m.vm.ioapic.rtc_pending_eoi).toBe(1);
  byHand(m, () => {
    m.vcpu[0]!.apic.irr.clear(VECTOR);
  });
  does(m, kvm_rtc_eoi_tracking_restore_one(m, 0));
  expect([m.vm.ioapic.rtc_pending_eoi, m.vm.ioapic.rtc_dest.has(0)]).toEqual([0, false]);
});

/** The route moves to another vector while its interrupt is in service. */
const moveRouteInService = (m: Machine): void => {
  line(m, 1);
  does(m, kvm_apic_ack_interrupt(m, 0, VECTOR));
  writeEntry(m, PIN, 1, 1 << 24);
  serveScans(m);
};

test('R62: a vector in service keeps its EOI exit when its route moves away, but only once', () => {
  const m = withLevelPin({ vcpus: 2 });
  const { ioapic_handled_vectors: handled } = m.vcpu[0]!;
  moveRouteInService(m);
  expect([handled.has(VECTOR), m.vcpu[0]!.highest_stale_pending_ioapic_eoi]).toEqual([
    true,
    VECTOR,
  ]);
  does(m, apic_set_eoi(m, 0));
  serveScans(m);
  expect([handled.has(VECTOR), m.vcpu[0]!.highest_stale_pending_ioapic_eoi]).toEqual([false, -1]);
});

test('R62: without the look at what is pending the line is never armed again', () => {
  const m = withLevelPin({ vcpus: 2, switches: { 'eoi-pending-scan': 'off' } });
  moveRouteInService(m);
  does(m, apic_set_eoi(m, 0));
  expect(remoteIrr(m)).toBe(true);
});

test('without the tracking of stale routes the EOI goes on exiting, and nothing else changes', () => {
  const m = withLevelPin({ vcpus: 2, switches: { 'eoi-stale-tracking': 'off' } });
  moveRouteInService(m);
  does(m, apic_set_eoi(m, 0));
  serveScans(m);
  const { ioapic_handled_vectors, highest_stale_pending_ioapic_eoi } = m.vcpu[0]!;
  expect([remoteIrr(m), ioapic_handled_vectors.has(VECTOR)]).toEqual([false, true]);
  expect(highest_stale_pending_ioapic_eoi).toBe(-1);
});

test.each([
  ['k4.15', 'kernel', true],
  ['k4.15', 'split', false],
  ['k6.6', 'kernel', true],
  ['k6.6', 'split', true],
] as const)(
  '%s, irqchip %s: a pending vector of a route that names another vCPU keeps its exit: %s',
  (profile, irqchip, keeps) => {
    const m = boot({ ...configOf({ vcpus: 2, profile, enableApicv: false }), vm: { irqchip } });
    byHand(m, () => {
      m.vcpu[0]!.apic.isr.set(VECTOR);
      Object.assign(m.vm.irq_routing[3]!, { used: true, ...route, address_lo: 0xfee0_1000 });
      m.vm.ioapic.redirtbl[3]!.low = redirection.LEVEL | VECTOR;
      m.vm.ioapic.redirtbl[3]!.high = 1 << 24;
    });
    does(m, vcpu_scan_ioapic(m, 0));
    expect(m.vcpu[0]!.ioapic_handled_vectors.has(VECTOR)).toBe(keeps);
  },
);

test('the EOI-exit bitmap is loaded with APICv, and only when L2 has ended', () => {
  const m = withLevelPin({ enableApicv: true });
  const vcpu = m.vcpu[0]!;
  expect(vcpu.requests.has(KVM_REQ.LOAD_EOI_EXITMAP)).toBe(true);
  does(m, vcpu_load_eoi_exitmap(m, 0));
  expect(vcpu.vmcs01.eoi_exit_bitmap1.has(VECTOR - 64)).toBe(true);
  byHand(m, () => {
    vcpu.requests.clearAll();
    vcpu.guest_mode = true;
  });
  does(m, vcpu_scan_ioapic(m, 0));
  expect([vcpu.requests.has(KVM_REQ.LOAD_EOI_EXITMAP), vcpu.load_eoi_exitmap_pending]).toEqual([
    false,
    true,
  ]);
});

/** A level-triggered MSI route to vCPU 0, as an IOAPIC of user space has it. */
const route = { address_lo: 0xfee0_0000, address_hi: 0, data: 0x8000 | VECTOR } as const;

test('with the IOAPIC in user space the EOI leaves KVM_RUN', () => {
  const m = machineWith({ vm: { irqchip: 'split' } });
  byHand(m, () => Object.assign(m.vm.irq_routing[3]!, { used: true, ...route }));
  does(m, vcpu_scan_ioapic(m, 0));
  expect(byUser(m, kvm_set_msi(m, route))).toBe(1);
  serve(m);
  const { requests, pending_ioapic_eoi } = m.vcpu[0]!;
  expect([requests.has(KVM_REQ.IOAPIC_EOI_EXIT), pending_ioapic_eoi]).toEqual([true, VECTOR]);
});

test('an MSI with 32-bit IDs has no reserved bits in its high address', () => {
  const m = machineWith({ vm: { x2apic32bitIds: true } });
  expect(byUser(m, kvm_set_msi(m, { ...route, address_hi: 0x1 }))).toBe(-22);
  expect(byUser(m, kvm_set_msi(m, { ...route, address_hi: 0x100 }))).toBe(0);
});

test('the PIC interrupts through LINT0, past IRR and ISR', () => {
  const m = machineWith();
  byHand(m, () => {
    m.vcpu[0]!.apic.lvt0 = APIC_DM_EXTINT;
  });
  byUser(m, pic_irq_request(m, true, 0x30));
  expect(m.vcpu[0]!.requests.has(KVM_REQ.EVENT)).toBe(true);
  expect(does(m, kvm_cpu_has_interrupt(m, 0))).toBe(true);
  expect(does(m, kvm_cpu_get_interrupt(m, 0))).toBe(0x30);
  expect(does(m, kvm_cpu_has_interrupt(m, 0))).toBe(false);
  expect(m.vcpu[0]!.apic.isr.any()).toBe(false);
});

test('an ExtINT of user space waits in one place until it is taken', () => {
  const m = machineWith({ vm: { irqchip: 'split' } });
  byHand(m, () => {
    m.vcpu[0]!.apic.lvt0 = APIC_DM_EXTINT;
  });
  expect(byUser(m, kvm_vcpu_ioctl_interrupt(m, 0, 0x31))).toBe(0);
  expect(byUser(m, kvm_vcpu_ioctl_interrupt(m, 0, 0x32))).toBe(-17);
  expect(does(m, kvm_cpu_get_interrupt(m, 0))).toBe(0x31);
});

test('with APICv KVM injects nothing for L1, but sees that an interrupt is there', () => {
  const m = machineWith({ enableApicv: true });
  byHand(m, () => {
    m.vcpu[0]!.apic.irr.set(VECTOR);
  });
  expect(does(m, kvm_cpu_has_injectable_intr(m, 0))).toBe(false);
  expect(does(m, kvm_cpu_has_interrupt(m, 0))).toBe(true);
});
