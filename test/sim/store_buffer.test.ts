// The store buffer of a thread: order, bound, forwarding, and what empties it.

import { expect, test } from 'vitest';
import { local_irq_enable, smp_send_reschedule } from '#sim/host/irq.ts';
import { read_lock_mmu, read_unlock_mmu } from '#sim/host/locks.ts';
import { kvm_make_request, kvm_vcpu_wake_up } from '#sim/kvm/kvm_main.ts';
import { limits } from '#sim/state/limits.ts';
import { KVM_REQ } from '#sim/state/requests.ts';
import { buffered } from '#sim/state/store_buffer.ts';
import { vcpuMode } from '#sim/state/vcpu.ts';
import type { Machine } from '#sim/steps.ts';
import { compileText, runScenario, scenarioText } from './scenario_run.ts';
import { byHand, smallMachine } from './small_machine.ts';

const { IN_GUEST_MODE, OUTSIDE_GUEST_MODE, EXITING_GUEST_MODE } = vcpuMode;

const weakMachine = (): Machine => smallMachine({ vcpus: 2, switches: { 'mode-store-mb': 'off' } });

/** The thread of vCPU 0 stores its mode. */
const stored = (): Machine => {
  const m = weakMachine();
  byHand(m, () => {
    m.current = 0;
    m.storeLater(buffered.MODE, 0, IN_GUEST_MODE);
  });
  return m;
};

test('the thread reads its own store, others do not', () => {
  const m = stored();
  expect([m.forwarded(buffered.MODE, 0), m.vcpu[0]!.mode]).toEqual([
    IN_GUEST_MODE,
    OUTSIDE_GUEST_MODE,
  ]);
  m.current = 1;
  expect(m.forwarded(buffered.MODE, 0)).toBe(-1);
});

test('of two stores to a place the thread reads the later one, and memory gets both in order', () => {
  const m = stored();
  m.storeLater(buffered.MODE, 0, EXITING_GUEST_MODE);
  expect(m.forwarded(buffered.MODE, 0)).toBe(EXITING_GUEST_MODE);
  m.drainOldest(0);
  expect([m.vcpu[0]!.mode, m.actor[0]!.stores]).toEqual([IN_GUEST_MODE, 1]);
  m.drainOldest(0);
  expect([m.vcpu[0]!.mode, m.actor[0]!.stores]).toEqual([EXITING_GUEST_MODE, 0]);
});

test('a store that finds the buffer full makes the oldest visible', () => {
  const m = stored();
  for (let i = 1; i < limits.storeBuffer; i++) m.storeLater(buffered.PI_PENDING, 0, 1);
  expect(m.vcpu[0]!.mode).toBe(OUTSIDE_GUEST_MODE);
  m.storeLater(buffered.PI_PENDING, 0, 1);
  expect([m.vcpu[0]!.mode, m.actor[0]!.stores]).toEqual([IN_GUEST_MODE, limits.storeBuffer]);
});

test.each<[string, (m: Machine) => void]>([
  ['a locked instruction', (m) => kvm_make_request(m, 1, KVM_REQ.EVENT)],
  ['a full barrier', (m) => kvm_vcpu_wake_up(m, 1)],
  ['an IPI that it sends', (m) => smp_send_reschedule(m, 1)],
  [
    'the end of a lock',
    (m) => {
      read_lock_mmu(m);
      read_unlock_mmu(m);
    },
  ],
  [
    'an interrupt that its CPU takes',
    (m) => {
      m.current = 1;
      smp_send_reschedule(m, 0);
      local_irq_enable(m, 0);
    },
  ],
])('%s empties it', (_, act) => {
  const m = stored();
  byHand(m, () => act(m));
  expect([m.vcpu[0]!.mode, m.actor[0]!.stores]).toEqual([IN_GUEST_MODE, 0]);
});

test('what others do leaves it alone', () => {
  const m = stored();
  byHand(m, () => {
    m.current = 1;
    kvm_make_request(m, 0, KVM_REQ.EVENT);
  });
  expect([m.vcpu[0]!.mode, m.actor[0]!.stores]).toEqual([OUTSIDE_GUEST_MODE, 1]);
});

test('it is taken back with the step', () => {
  const m = weakMachine();
  const before = m.arena.words.slice();
  byHand(m, () => m.storeLater(buffered.MODE, 0, IN_GUEST_MODE));
  m.arena.undo();
  expect(m.arena.words).toEqual(before);
});

test('it drains when a schedule says so; with the barrier on the line has nothing to do', () => {
  const early = scenarioText('R11-k7.0-buggy').replace('  mm    on', '  drain-vcpu0 1\n  mm on');
  const weak = runScenario(compileText(early));
  expect(weak.findings).toEqual([]);
  expect(weak.machine.threads.map(({ name }) => name)).toContain('drain-vcpu0');
  const strong = runScenario(compileText(early, { switches: { 'mode-store-mb': 'on' } }));
  expect(strong.findings).toEqual([]);
  expect(strong.machine.threads.map(({ name }) => name)).not.toContain('drain-vcpu0');
});
