// Requests, kicks and sleep: who is interrupted, who is woken, who waits for whom.

import { expect, test } from 'vitest';
import { kvm_vcpu_block } from '#sim/kvm/block.ts';
import { kvm_make_all_cpus_request, kvm_make_request, kvm_vcpu_kick } from '#sim/kvm/kvm_main.ts';
import { kvm_flush_remote_tlbs } from '#sim/kvm/mmu_notifier.ts';
import { KVM_REQ } from '#sim/state/requests.ts';
import { hostVector, mpState, taskState, vcpuMode } from '#sim/state/vcpu.ts';
import type { Machine } from '#sim/steps.ts';
import {
  begin,
  byHand,
  complete,
  goOn,
  goTo,
  isReady,
  smallMachine,
  standsBefore,
} from '../small_machine.ts';

const { OUTSIDE_GUEST_MODE, IN_GUEST_MODE, EXITING_GUEST_MODE, READING_SHADOW_PAGE_TABLES } =
  vcpuMode;

const setModes = (m: Machine, ...modes: readonly number[]): void =>
  byHand(m, () => {
    for (const [i, mode] of modes.entries()) {
      m.vcpu[i]!.mode = mode;
      m.cpu[i]!.irqs_on = mode === OUTSIDE_GUEST_MODE;
    }
  });

const halted = (): Machine => {
  const m = smallMachine();
  byHand(m, () => {
    m.vcpu[0]!.mp_state = mpState.HALTED;
  });
  return m;
};

const modes = (m: Machine): number[] => m.vcpu.map(({ mode }) => mode);
const ipis = (m: Machine): number[] => m.cpu.map((cpu) => cpu.ipis);
const pending = (m: Machine, request: number): boolean[] =>
  m.vcpu.map(({ requests }) => requests.has(request));

test('a request sets its bit and does nothing else: no wake-up, no IPI, no change of mode', () => {
  const m = smallMachine();
  setModes(m, IN_GUEST_MODE);
  byHand(m, () => kvm_make_request(m, 0, KVM_REQ.EVENT));
  expect([pending(m, KVM_REQ.EVENT), modes(m), ipis(m)]).toEqual([[true], [IN_GUEST_MODE], [0]]);
  expect(m.vcpu[0]!.spec.request[KVM_REQ.EVENT]!.published).toBe(1);
});

test('a WAIT request interrupts whoever is not OUTSIDE, and IN becomes EXITING', () => {
  const m = smallMachine({ vcpus: 4 });
  const before = [
    OUTSIDE_GUEST_MODE,
    IN_GUEST_MODE,
    EXITING_GUEST_MODE,
    READING_SHADOW_PAGE_TABLES,
  ];
  setModes(m, ...before);
  const work = begin(m, 'mm', () => kvm_make_all_cpus_request(m, KVM_REQ.TLB_FLUSH));
  goOn(m, 'mm');
  expect(pending(m, KVM_REQ.TLB_FLUSH)).toEqual([true, true, true, true]);
  expect(modes(m)).toEqual([
    OUTSIDE_GUEST_MODE,
    EXITING_GUEST_MODE,
    EXITING_GUEST_MODE,
    READING_SHADOW_PAGE_TABLES,
  ]);
  expect(ipis(m)).toEqual([0, 1, 1, 1]);
  expect([work.done, standsBefore(m, 'mm')]).toEqual([
    false,
    expect.stringContaining('wait until the target has run the handler'),
  ]);
});

test('a request without WAIT interrupts only whoever is IN_GUEST_MODE', () => {
  const m = smallMachine({ vcpus: 4 });
  setModes(m, OUTSIDE_GUEST_MODE, IN_GUEST_MODE, EXITING_GUEST_MODE, READING_SHADOW_PAGE_TABLES);
  expect(complete(m, 'mm', () => kvm_make_all_cpus_request(m, KVM_REQ.TLB_FLUSH_CURRENT))).toBe(
    true,
  );
  expect(ipis(m)).toEqual([0, 1, 0, 0]);
});

test('with everybody OUTSIDE a WAIT request sends no IPI and returns at once', () => {
  const m = smallMachine({ vcpus: 2 });
  expect(complete(m, 'mm', () => kvm_make_all_cpus_request(m, KVM_REQ.APIC_PAGE_RELOAD))).toBe(
    false,
  );
  expect([ipis(m), m.vm.stat.wait_stalls]).toEqual([[0, 0], 0]);
  expect(pending(m, KVM_REQ.APIC_PAGE_RELOAD)).toEqual([true, true]);
});

test('the maker goes on when the handler has run, not when the request is handled', () => {
  const m = smallMachine({ vcpus: 2 });
  setModes(m, IN_GUEST_MODE, OUTSIDE_GUEST_MODE);
  const work = begin(m, 'mm', () => kvm_make_all_cpus_request(m, KVM_REQ.TLB_FLUSH));
  goOn(m, 'mm');
  expect(isReady(m, 'mm')).toBe(false);
  byHand(m, () => {
    m.cpu[0]!.irqs_on = true;
  });
  goOn(m, 'irq0');
  goOn(m, 'mm');
  expect([work.done, work.result]).toEqual([true, true]);
  expect(m.vcpu[0]!.requests.has(KVM_REQ.TLB_FLUSH)).toBe(true);
});

test('interrupts that are off keep the IPI pending, and the maker waiting', () => {
  const m = smallMachine();
  setModes(m, IN_GUEST_MODE);
  begin(m, 'mm', () => kvm_make_all_cpus_request(m, KVM_REQ.TLB_FLUSH));
  goOn(m, 'mm');
  expect(isReady(m, 'irq0')).toBe(false);
  expect(m.cpu[0]!.pending.has(hostVector.CALL_FUNCTION)).toBe(true);
});

test('a maker that is itself the vCPU does not interrupt itself', () => {
  const m = smallMachine({ vcpus: 2 });
  setModes(m, IN_GUEST_MODE, OUTSIDE_GUEST_MODE);
  complete(m, 'vcpu0', () => kvm_make_all_cpus_request(m, KVM_REQ.TLB_FLUSH));
  expect(ipis(m)).toEqual([0, 0]);
  expect(m.vcpu[0]!.requests.has(KVM_REQ.TLB_FLUSH)).toBe(true);
});

test('a remote flush asks for TLB_FLUSH and waits, whatever the handler will flush', () => {
  for (const value of ['on', 'off'] as const) {
    const m = smallMachine({ switches: { 'zap-flush-all-roots': value } });
    setModes(m, IN_GUEST_MODE);
    const work = begin(m, 'mm', () => kvm_flush_remote_tlbs(m));
    goOn(m, 'mm');
    expect([value, work.done, standsBefore(m, 'mm')]).toEqual([
      value,
      false,
      expect.stringContaining('wait until the target has run the handler'),
    ]);
    expect([value, pending(m, KVM_REQ.TLB_FLUSH), pending(m, KVM_REQ.TLB_FLUSH_CURRENT)]).toEqual([
      value,
      [true],
      [false],
    ]);
  }
});

test('the call-function IPI goes to one CPU after the other', () => {
  const m = smallMachine({ vcpus: 3 });
  setModes(m, IN_GUEST_MODE, OUTSIDE_GUEST_MODE, IN_GUEST_MODE);
  begin(m, 'mm', () => kvm_make_all_cpus_request(m, KVM_REQ.TLB_FLUSH));
  goTo(m, 'mm', 'smp_call_function_many', 'send the call-function IPI');
  expect(ipis(m)).toEqual([0, 0, 0]);
  goTo(m, 'mm', 'smp_call_function_many', 'send the call-function IPI');
  expect(ipis(m)).toEqual([1, 0, 0]);
  goOn(m, 'mm');
  expect(ipis(m)).toEqual([1, 0, 1]);
});

test('a kick turns IN_GUEST_MODE to EXITING with one IPI; in other modes it sends none', () => {
  const sent = [
    OUTSIDE_GUEST_MODE,
    IN_GUEST_MODE,
    EXITING_GUEST_MODE,
    READING_SHADOW_PAGE_TABLES,
  ].map((mode) => {
    const m = smallMachine();
    setModes(m, mode);
    complete(m, 'mm', () => kvm_vcpu_kick(m, 0));
    return [m.vcpu[0]!.mode, m.cpu[0]!.ipis];
  });
  expect(sent).toEqual([
    [OUTSIDE_GUEST_MODE, 0],
    [EXITING_GUEST_MODE, 1],
    [EXITING_GUEST_MODE, 0],
    [READING_SHADOW_PAGE_TABLES, 0],
  ]);
});

test('a kick of a blocked vCPU wakes it, and that is all', () => {
  const m = halted();
  const asleep = begin(m, 'vcpu0', () => kvm_vcpu_block(m, 0));
  goOn(m, 'vcpu0');
  expect(m.vcpu[0]!.task_state).toBe(taskState.BLOCKED);
  complete(m, 'mm', () => kvm_vcpu_kick(m, 0));
  expect([m.vcpu[0]!.task_state, m.cpu[0]!.ipis]).toEqual([taskState.RUNNING, 0]);
  goOn(m, 'vcpu0');
  // Woken without a reason to run: it sleeps again.
  expect([asleep.done, m.vcpu[0]!.task_state]).toEqual([false, taskState.BLOCKED]);
});

test('a wake-up between "INTERRUPTIBLE" and schedule() is not lost', () => {
  const m = halted();
  const asleep = begin(m, 'vcpu0', () => kvm_vcpu_block(m, 0));
  goTo(m, 'vcpu0', 'schedule', 'schedule()');
  byHand(m, () => kvm_make_request(m, 0, KVM_REQ.UNBLOCK));
  complete(m, 'mm', () => kvm_vcpu_kick(m, 0));
  goOn(m, 'vcpu0');
  expect([asleep.done, m.vcpu[0]!.task_state]).toEqual([true, taskState.RUNNING]);
});

test('a request with NO_WAKEUP leaves a blocked vCPU asleep, one without wakes it', () => {
  for (const [request, state] of [
    [KVM_REQ.TLB_FLUSH, taskState.BLOCKED],
    [KVM_REQ.TLB_FLUSH_CURRENT, taskState.RUNNING],
  ] as const) {
    const m = halted();
    begin(m, 'vcpu0', () => kvm_vcpu_block(m, 0));
    goOn(m, 'vcpu0');
    complete(m, 'mm', () => kvm_make_all_cpus_request(m, request));
    expect([request, m.vcpu[0]!.task_state]).toEqual([request, state]);
  }
});
