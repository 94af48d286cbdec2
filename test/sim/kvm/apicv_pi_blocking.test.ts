// The descriptor of a vCPU that is off its CPU: suppressed while preempted, waking while asleep.

import { expect, test } from 'vitest';
import { resched_curr, set_next_task } from '#sim/host/sched.ts';
import { kvm_arch_vcpu_load } from '#sim/kvm/block.ts';
import { kvm_apic_has_interrupt } from '#sim/kvm/lapic/priority.ts';
import {
  pi_has_pending_interrupt,
  vmx_pi_start_assignment,
  vmx_vcpu_pi_put,
} from '#sim/kvm/vmx/pi_blocking.ts';
import { POSTED_INTR_VECTOR, POSTED_INTR_WAKEUP_VECTOR } from '#sim/state/pi_desc.ts';
import { hostVector, taskState } from '#sim/state/vcpu.ts';
import type { Machine } from '#sim/steps.ts';
import {
  begin,
  byHand,
  complete,
  goOn,
  goTo,
  smallMachine,
  standsBefore,
} from '../small_machine.ts';

const halting = { vcpu0: [{ op: 'hlt', operands: [] }] } as const;

/** A VM with a device whose interrupts are posted; its guest allows interrupts. */
const withDevice = (switches: Readonly<Record<string, string>> = {}, vcpus = 1): Machine => {
  const m = smallMachine({ vcpus, profile: 'k7.0', switches, programs: halting });
  byHand(m, () => {
    m.vm.assigned_devices = 1;
    for (const vcpu of m.vcpu) {
      vcpu.guest.rflags_if = true;
      vcpu.apic.spiv = 0x1ff;
      vcpu.apic.sw_enabled = true;
    }
  });
  return m;
};

/** What the IOMMU does: it honours SN. */
const postFromDevice = (m: Machine, vector: number): void =>
  byHand(m, () => {
    const { pi_desc, cpu } = m.vcpu[0]!;
    pi_desc.pir.set(vector);
    if (pi_desc.on || pi_desc.sn) return;
    pi_desc.on = true;
    const wakeup = pi_desc.nv === POSTED_INTR_WAKEUP_VECTOR;
    m.cpu[cpu]!.pending.set(wakeup ? hostVector.POSTED_INTR_WAKEUP : hostVector.POSTED_INTR);
  });

const asleep = (m: Machine): boolean => m.vcpu[0]!.task_state === taskState.BLOCKED;

test('a vCPU that sleeps is on the list of its CPU, and its notification wakes it', () => {
  const m = withDevice();
  goOn(m, 'vcpu0');
  const { pi_desc } = m.vcpu[0]!;
  expect([asleep(m), pi_desc.nv, m.vcpu[0]!.on_wakeup_list]).toEqual([
    true,
    POSTED_INTR_WAKEUP_VECTOR,
    0,
  ]);
  postFromDevice(m, 0x51);
  goOn(m, 'irq0');
  expect(asleep(m)).toBe(false);
  goOn(m, 'vcpu0');
  expect([pi_desc.nv, m.vcpu[0]!.guest.delivered[0]!.vector]).toEqual([
    POSTED_INTR_WAKEUP_VECTOR,
    0x51,
  ]);
});

test('without a device nobody but software posts: the descriptor of a sleeper stays as it is', () => {
  const m = withDevice();
  byHand(m, () => {
    m.vm.assigned_devices = 0;
  });
  goOn(m, 'vcpu0');
  expect([asleep(m), m.vcpu[0]!.pi_desc.nv]).toEqual([true, POSTED_INTR_VECTOR]);
});

/** The device posts between the last look for a reason to run and the change of the vector. */
const postedWhileFallingAsleep = (switches: Readonly<Record<string, string>>): boolean => {
  const m = withDevice(switches);
  goTo(m, 'vcpu0', 'schedule', 'schedule()');
  postFromDevice(m, 0x51);
  goOn(m, 'irq0');
  goOn(m, 'vcpu0');
  goOn(m, 'irq0');
  return asleep(m);
};

test('R26: ON that was set before the vector changed sends the wake-up vector to itself', () => {
  expect(postedWhileFallingAsleep({})).toBe(false);
  expect(postedWhileFallingAsleep({ 'wakeup-selfipi': 'off' })).toBe(true);
});

test('R27: a plain store of the control word loses ON that was set meanwhile', () => {
  const kept = (['on', 'off'] as const).map((value) => {
    const m = withDevice({ 'pi-control-cmpxchg': value });
    goTo(m, 'vcpu0', 'pi_enable_wakeup_handler', 'write the control word');
    postFromDevice(m, 0x51);
    goTo(m, 'vcpu0', 'schedule', 'asleep');
    return m.vcpu[0]!.pi_desc.on;
  });
  expect(kept).toEqual([true, false]);
});

/** Preempted, posted to, and back on its CPU: is ON set? */
const postedWhilePreempted = (switches: Readonly<Record<string, string>>): boolean[] => {
  const m = withDevice(switches);
  byHand(m, () => {
    m.vcpu[0]!.preempted = true;
  });
  complete(m, 'vcpu0', () => vmx_vcpu_pi_put(m, 0));
  postFromDevice(m, 0x51);
  const { pi_desc } = m.vcpu[0]!;
  const before = [pi_desc.sn, pi_desc.on, pi_has_pending_interrupt(m, 0)];
  complete(m, 'vcpu0', () => kvm_arch_vcpu_load(m, 0, 0));
  return [...before, pi_desc.sn, pi_desc.on];
};

test('R25: a preempted vCPU suppresses notifications, and finds what was posted when it is back', () => {
  expect(postedWhilePreempted({})).toEqual([true, false, true, false, true]);
  const lost = postedWhilePreempted({ 'sn-clear-recompute-on': 'off' });
  expect(lost).toEqual([true, false, true, false, false]);
});

test('R29: the first device wakes the vCPUs that sleep already, so that they arm the vector', () => {
  const armed = (['on', 'off'] as const).map((value) => {
    const m = withDevice({ 'unblock-on-pi-assignment': value });
    byHand(m, () => {
      m.vm.assigned_devices = 0;
    });
    goOn(m, 'vcpu0');
    complete(m, 'user', () => vmx_pi_start_assignment(m));
    goOn(m, 'vcpu0');
    return [asleep(m), m.vcpu[0]!.pi_desc.nv];
  });
  expect(armed).toEqual([
    [true, POSTED_INTR_WAKEUP_VECTOR],
    [true, POSTED_INTR_VECTOR],
  ]);
});

test('a vCPU that is moved takes its notifications along, and flushes what the CPU may have', () => {
  const m = withDevice({}, 2);
  goOn(m, 'vcpu1');
  byHand(m, () => {
    m.vcpu[1]!.scheduled_out = true;
  });
  complete(m, 'user', () => resched_curr(m, 0));
  goOn(m, 'vcpu0');
  expect([m.vcpu[0]!.preempted, m.vcpu[0]!.pi_desc.sn, standsBefore(m, 'vcpu0')]).toEqual([
    true,
    true,
    'schedule "asleep"',
  ]);
  complete(m, 'user', () => set_next_task(m, 0, 1));
  goTo(m, 'vcpu0', 'vmEntry', 'VM entry');
  const { cpu, preempted, pi_desc, stat } = m.vcpu[0]!;
  expect([cpu, preempted, pi_desc.ndst, pi_desc.sn, stat.tlb_flush_all]).toEqual([
    1,
    false,
    0x100,
    false,
    1,
  ]);
});

test('a vCPU leaves the list of the CPU that it slept on, under the lock of that CPU', () => {
  const m = withDevice({}, 2);
  goOn(m, 'vcpu0');
  byHand(m, () => {
    m.cpu[0]!.wakeup_vcpus_on_cpu_lock = 99;
  });
  const load = begin(m, 'user', () => kvm_arch_vcpu_load(m, 0, 1));
  goOn(m, 'user');
  expect([load.done, m.vcpu[0]!.on_wakeup_list]).toEqual([false, 0]);
  byHand(m, () => {
    m.cpu[0]!.wakeup_vcpus_on_cpu_lock = 0;
  });
  goOn(m, 'user');
  expect([load.done, m.vcpu[0]!.on_wakeup_list, m.vcpu[0]!.cpu]).toEqual([true, -1, 1]);
});

test('on another CPU the flush is asked for before the descriptor names that CPU', () => {
  const m = withDevice({}, 2);
  begin(m, 'vcpu0', () => kvm_arch_vcpu_load(m, 0, 1));
  expect(goOn(m, 'vcpu0').slice(0, 2)).toEqual([
    'another CPU: make TLB_FLUSH',
    expect.stringContaining('write the control word'),
  ]);
});

/** A vector that was posted while APICv is off, and what KVM then finds. */
const postedWithoutApicv = (sync: 'on' | 'off'): number => {
  const m = withDevice({ 'sync-pir-when-inhibited': sync });
  byHand(m, () => {
    m.vcpu[0]!.apic.apicv_active = false;
  });
  postFromDevice(m, 0x51);
  return complete(m, 'vcpu0', () => kvm_apic_has_interrupt(m, 0));
};

test('R24: PIR is looked at without APICv, or, in older kernels, nowhere', () => {
  expect([postedWithoutApicv('on'), postedWithoutApicv('off')]).toEqual([0x51, -1]);
});
