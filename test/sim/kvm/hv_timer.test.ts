// The APIC timer on the VMX preemption timer: what KVM programs, and what the exit does.

import { expect, test } from 'vitest';
import { fastpath, vmx_exit_handlers_fastpath } from '#sim/kvm/fastpath.ts';
import {
  __kvm_migrate_timers,
  kvm_set_lapic_tscdeadline_msr,
  restart_apic_timer,
} from '#sim/kvm/lapic/timer.ts';
import { apic_timer_expired } from '#sim/kvm/lapic/timer_expiry.ts';
import { timerSoftDisabled, vmx_update_hv_timer } from '#sim/kvm/vmx/hv_timer.ts';
import { timerMode } from '#sim/state/timer.ts';
import { vcpuMode } from '#sim/state/vcpu.ts';
import { exitReason } from '#sim/state/vmcs.ts';
import type { Machine } from '#sim/steps.ts';
import { does, machineWith, type Wishes } from './lapic_machine.ts';

const vector = 0x40;

/** A TSC deadline at 10000; the timer may be the CPU's. */
const armed = (wishes: Wishes = {}): Machine => {
  const m = machineWith({ ...wishes, vm: { preemptionTimer: true, ...wishes.vm } });
  m.vcpu[0]!.apic.lvtt = timerMode.TSCDEADLINE | vector;
  m.vcpu[0]!.apic.lapic_timer.timer_mode = timerMode.TSCDEADLINE;
  does(m, kvm_set_lapic_tscdeadline_msr(m, 0, 10_000));
  return m;
};
const timerOf = (m: Machine): Machine['vcpu'][number]['apic']['lapic_timer'] =>
  m.vcpu[0]!.apic.lapic_timer;
const countOf = (m: Machine, force = false): number => {
  does(m, vmx_update_hv_timer(m, 0, force));
  return m.vcpu[0]!.vmcs01.vmx_preemption_timer_value;
};
const exits = (m: Machine, forced = false): number =>
  does(m, vmx_exit_handlers_fastpath(m, 0, exitReason.PREEMPTION_TIMER, [], forced));

test('what is written before an entry is what is left, 1000 cycles early and rounded down', () => {
  const m = armed();
  expect(countOf(m)).toBe(Math.floor(9000 / 32));
  m.vm.now = 8990;
  expect(countOf(m)).toBe(0);
  m.vm.now = 9500;
  expect(countOf(m)).toBe(0);
});

test('a forced exit is a count of 0; afterwards the count is that of the deadline again', () => {
  const m = armed();
  expect([countOf(m, true), countOf(m)]).toEqual([0, Math.floor(9000 / 32)]);
});

test('with nothing to expire the count is written once, as large as it can be', () => {
  const m = machineWith({ vm: { preemptionTimer: true } });
  expect(countOf(m)).toBe(timerSoftDisabled);
  const { position } = m.arena;
  expect([countOf(m), m.arena.position]).toEqual([timerSoftDisabled, position + 1]);
});

test('the fast path of the exit notes the expiry and lets the guest go on', () => {
  const m = armed();
  m.vm.now = 9000;
  expect(exits(m)).toBe(fastpath.REENTER_GUEST);
  expect([timerOf(m).pending, timerOf(m).hv_timer_in_use]).toEqual([1, false]);
  expect([timerOf(m).expired_tscdeadline, m.vcpu[0]!.hv_deadline_tsc]).toEqual([10_000, 0]);
});

test('with APICv the fast path posts the vector at once', () => {
  const m = armed({ enableApicv: true });
  m.vm.now = 9000;
  expect(exits(m)).toBe(fastpath.REENTER_GUEST);
  expect([timerOf(m).pending, m.vcpu[0]!.pi_desc.pir.has(vector)]).toEqual([0, true]);
});

test('an exit that was forced is done with; one that nobody asked for is forgotten', () => {
  const m = armed();
  expect(exits(m, true)).toBe(fastpath.EXIT_HANDLED);
  m.vcpu[0]!.vmcs01.vmx_preemption_timer_value = timerSoftDisabled;
  expect(exits(m)).toBe(fastpath.REENTER_GUEST);
  expect([timerOf(m).pending, timerOf(m).hv_timer_in_use]).toEqual([0, true]);
});

test.each([
  ['L2 runs', {}, true],
  ['the kernel has no fast path', { switches: { 'fastpath-exits': 'none' } }, false],
])('the slow path handles it while %s', (_, wishes, l2) => {
  const m = armed(wishes);
  m.vcpu[0]!.guest_mode = l2;
  expect(exits(m)).toBe(fastpath.NONE);
  expect(timerOf(m).pending).toBe(0);
});

test.each([
  [
    'the guest may use MWAIT',
    (m: Machine) => {
      m.vm.mwait_in_guest = true;
    },
  ],
  [
    'the vCPU is one of a TD',
    (m: Machine) => {
      m.vcpu[0]!.apic.guest_apic_protected = true;
    },
  ],
])('the hrtimer does it where %s', (_, change) => {
  const m = armed();
  change(m);
  does(m, restart_apic_timer(m, 0));
  expect([timerOf(m).hv_timer_in_use, timerOf(m).armed]).toEqual([false, true]);
});

const posted: Wishes = { enableApicv: true, vm: { piInjectTimer: true, hltInGuest: true } };

test('a timer that can be posted is an hrtimer, and does not follow the vCPU', () => {
  const m = armed(posted);
  expect([timerOf(m).hv_timer_in_use, timerOf(m).armed]).toEqual([false, true]);
  const { position } = m.arena;
  does(m, __kvm_migrate_timers(m, 0));
  expect(m.arena.position).toBe(position + 1);
  m.vm.hlt_in_guest = false;
  does(m, __kvm_migrate_timers(m, 0));
  expect([timerOf(m).armed, timerOf(m).expires]).toEqual([true, 9000]);
  expect(m.arena.position).toBe(position + 4);
});

test('MIGRATE_TIMER leaves a timer alone that is not armed', () => {
  const m = machineWith();
  does(m, __kvm_migrate_timers(m, 0));
  expect(timerOf(m).armed).toBe(false);
});

test('the hrtimer posts to a vCPU that is in the guest, and to no other', () => {
  const m = armed(posted);
  m.vm.now = 10_000;
  does(m, apic_timer_expired(m, 0, true));
  expect([timerOf(m).pending, m.vcpu[0]!.pi_desc.pir.any()]).toEqual([1, false]);
  timerOf(m).pending = 0;
  m.vcpu[0]!.mode = vcpuMode.IN_GUEST_MODE;
  does(m, apic_timer_expired(m, 0, true));
  expect([timerOf(m).pending, m.vcpu[0]!.pi_desc.pir.has(vector)]).toEqual([0, true]);
});
