// Events while L2 runs: which of them end it, and which have to wait.

import { expect, test } from 'vitest';
import { __run_hrtimer } from '#sim/host/hrtimer.ts';
import { kvm_vcpu_has_events, vcpu_block } from '#sim/kvm/block.ts';
import { EBUSY } from '#sim/kvm/errno.ts';
import { kvm_check_and_inject_events } from '#sim/kvm/inject.ts';
import { vcpu_load_eoi_exitmap, vcpu_scan_ioapic } from '#sim/kvm/lapic/eoi.ts';
import { apic_timer_fn } from '#sim/kvm/lapic/timer_expiry.ts';
import { vmx_check_nested_events } from '#sim/kvm/vmx/nested/events.ts';
import {
  vmx_preemption_timer_fn,
  vmx_start_preemption_timer,
} from '#sim/kvm/vmx/nested/preemption_timer.ts';
import { nested_vmx_enter_non_root_mode } from '#sim/kvm/vmx/nested/run.ts';
import { __nested_vmx_vmexit } from '#sim/kvm/vmx/nested/vmexit.ts';
import { vmx_sync_pir_to_irr } from '#sim/kvm/vmx/posted_intr.ts';
import { apicEvent } from '#sim/state/lapic.ts';
import { KVM_REQ } from '#sim/state/requests.ts';
import { loadedVmcs, mpState } from '#sim/state/vcpu.ts';
import {
  cpuControl,
  exitReason,
  INTR_INFO_VALID,
  interruptibility,
  pinControl,
} from '#sim/state/vmcs.ts';
import type { Machine } from '#sim/steps.ts';
import { byHand, complete } from '../small_machine.ts';
import { type L2Wishes, l2Machine, NV, requestOfL1 } from './l2_machine.ts';

const vmcs12 = (m: Machine) => m.vcpu[0]!.nested.cached_vmcs12;
const check = (m: Machine): number => complete(m, 'vcpu0', () => vmx_check_nested_events(m, 0));
const inject = (m: Machine): number =>
  complete(m, 'vcpu0', () => kvm_check_and_inject_events(m, 0));
const svi = (m: Machine): number[] => [
  m.vcpu[0]!.vmcs01.guest_intr_status >>> 8,
  m.vcpu[0]!.vmcs02.guest_intr_status >>> 8,
];

test('an interrupt that L1 wants ends L2, and is in service for L1', () => {
  const m = l2Machine();
  requestOfL1(m, 0x51);
  expect([check(m), m.vcpu[0]!.guest_mode]).toEqual([0, false]);
  const { vm_exit_reason, vm_exit_intr_info } = vmcs12(m);
  expect([vm_exit_reason, vm_exit_intr_info]).toEqual([1, INTR_INFO_VALID + 0x51]);
  const { irr, isr } = m.vcpu[0]!.apic;
  expect([irr.has(0x51), isr.has(0x51), svi(m)]).toEqual([false, true, [0x51, 0]]);
});

test('R33: in service before vmcs01 is loaded, the vector stands in the SVI of L2', () => {
  const m = l2Machine({
    switches: { 'ack-after-vmcs01': 'off', 'svi-l2-policy': 'write-loaded' },
  });
  requestOfL1(m, 0x51);
  check(m);
  expect(svi(m)).toEqual([0, 0x51]);
});

test('without acknowledge-on-exit the vector stays where it is', () => {
  const m = l2Machine({ ackOnExit: false, pin: [pinControl.EXT_INTR] });
  requestOfL1(m, 0x51);
  check(m);
  expect([vmcs12(m).vm_exit_reason, vmcs12(m).vm_exit_intr_info]).toEqual([1, 0]);
  expect(m.vcpu[0]!.apic.irr.has(0x51)).toBe(true);
});

test('an L1 that does not want interrupts lets KVM inject them into L2', () => {
  const m = l2Machine({ pin: [] });
  requestOfL1(m, 0x51);
  expect([inject(m), m.vcpu[0]!.guest_mode]).toEqual([0, true]);
  expect(m.vcpu[0]!.vmcs02.vm_entry_intr_info).toBe(INTR_INFO_VALID + 0x51);
});

test('and opens the window of L2 while that holds them back', () => {
  const m = l2Machine({ pin: [] });
  requestOfL1(m, 0x51);
  byHand(m, () => {
    m.vcpu[0]!.guest.rflags_if = false;
  });
  inject(m);
  const { vmcs01, vmcs02 } = m.vcpu[0]!;
  const windows = [vmcs02, vmcs01].map((v) =>
    v.cpu_based_vm_exec_control.has(cpuControl.INTR_WINDOW),
  );
  expect([windows, vmcs02.vm_entry_intr_info]).toEqual([[true, false], 0]);
});

test('what ends L2 is not for L2 to hold back', () => {
  const m = l2Machine();
  requestOfL1(m, 0x51);
  byHand(m, () => {
    m.vcpu[0]!.guest.rflags_if = false;
  });
  check(m);
  expect(vmcs12(m).vm_exit_reason).toBe(exitReason.EXTERNAL_INTERRUPT);
});

test('R41: an entry that is committed takes place first', () => {
  const exits = (value: string) => {
    const m = l2Machine({ switches: { 'nested-run-pending-block': value } });
    requestOfL1(m, 0x51);
    byHand(m, () => {
      m.vcpu[0]!.nested.nested_run_pending = true;
    });
    const result = inject(m);
    return [result, m.vcpu[0]!.guest_mode, m.vcpu[0]!.spec.exits_while_run_pending];
  };
  // 1: KVM wants control back right behind the entry.
  expect(exits('on')).toEqual([1, true, 0]);
  expect(exits('off')).toEqual([0, false, 1]);
});

test('R68: an ExtINT that has to wait is lost, unless KVM looks before it takes', () => {
  const after = (value: string) => {
    const m = l2Machine({
      switches: { 'extint-peek-first': value },
      vm: { nested: true, irqchip: 'split' },
    });
    byHand(m, () => {
      m.vcpu[0]!.pending_external_vector = 0x30;
      m.vcpu[0]!.apic.lvt0 = 0x700;
      m.vcpu[0]!.nested.nested_run_pending = true;
    });
    const result = check(m);
    const { pending_external_vector, spec } = m.vcpu[0]!;
    return [result, pending_external_vector, spec.extints_lost];
  };
  expect(after('off')).toEqual([-EBUSY, -1, 1]);
  expect(after('on')).toEqual([-EBUSY, 0x30, 0]);
});

test('an ExtINT that need not wait ends L2', () => {
  const m = l2Machine({ vm: { nested: true, irqchip: 'split' } });
  byHand(m, () => {
    m.vcpu[0]!.pending_external_vector = 0x30;
    m.vcpu[0]!.apic.lvt0 = 0x700;
  });
  check(m);
  expect(vmcs12(m).vm_exit_intr_info).toBe(INTR_INFO_VALID + 0x30);
  // Of those that were taken none is missing.
  expect(m.vcpu[0]!.spec.extints).toBe(0);
});

const withNotification = (wishes: L2Wishes, lay: (m: Machine) => void = () => undefined) => {
  const m = l2Machine(wishes);
  requestOfL1(m, NV);
  byHand(m, () => lay(m));
  const result = check(m);
  const { guest_mode, apic } = m.vcpu[0]!;
  return [result, guest_mode, apic.irr.has(NV)];
};

test('R35: the notification of L2 as an interrupt of L1 does not end L2', () => {
  expect(withNotification({})).toEqual([0, true, false]);
  expect(withNotification({ switches: { 'nv-irq-morph': 'off' } })).toEqual([0, false, false]);
  expect(withNotification({ switches: { 'nv-irq-morph': 'at-entry' } })[1]).toBe(false);
});

test('R36: it may come before an entry that is committed, and not into a delivery', () => {
  const pendingEntry = withNotification({}, (m) => {
    m.vcpu[0]!.nested.nested_run_pending = true;
  });
  const delivery = withNotification({}, (m) => {
    m.vcpu[0]!.interrupt.injected = true;
  });
  expect([pendingEntry, delivery]).toEqual([
    [0, true, false],
    [-EBUSY, true, true],
  ]);
});

test('an NMI ends L2 if L1 wants that, and masks the next one', () => {
  const after = (pin: readonly number[]) => {
    const m = l2Machine({ pin });
    byHand(m, () => {
      m.vcpu[0]!.nmi_pending = 1;
    });
    check(m);
    const { nmi_pending, vmcs01 } = m.vcpu[0]!;
    const masked = (vmcs01.guest_interruptibility & interruptibility.NMI) !== 0;
    return [vmcs12(m).vm_exit_reason, nmi_pending, masked];
  };
  expect(after([pinControl.NMI])).toEqual([exitReason.EXCEPTION_NMI, 0, true]);
  expect(after([])).toEqual([exitReason.NONE, 1, false]);
});

test('an L2 that waits for its SIPI hears nothing of an INIT', () => {
  const m = l2Machine();
  byHand(m, () => {
    m.vcpu[0]!.mp_state = mpState.INIT_RECEIVED;
    m.vcpu[0]!.apic.pending_events.set(apicEvent.INIT);
  });
  expect([check(m), m.vcpu[0]!.guest_mode]).toEqual([0, true]);
  expect(m.vcpu[0]!.apic.pending_events.any()).toBe(false);
});

test('the preemption timer ends L2 when its time is over, or at once', () => {
  const m = l2Machine({ pin: [pinControl.PREEMPTION_TIMER] });
  byHand(m, () => {
    vmcs12(m).vmx_preemption_timer_value = 2;
  });
  complete(m, 'vcpu0', () => vmx_start_preemption_timer(m, 0));
  const { nested } = m.vcpu[0]!;
  expect([nested.preemption_timer.expires, check(m), m.vcpu[0]!.guest_mode]).toEqual([64, 0, true]);
  byHand(m, () => {
    m.vm.now = 64;
  });
  complete(m, 'user', () => __run_hrtimer(m, 0, [apic_timer_fn, vmx_preemption_timer_fn]));
  expect(m.vcpu[0]!.requests.has(KVM_REQ.EVENT)).toBe(true);
  check(m);
  expect(vmcs12(m).vm_exit_reason).toBe(exitReason.PREEMPTION_TIMER);

  const zero = l2Machine({ pin: [pinControl.PREEMPTION_TIMER] });
  complete(zero, 'vcpu0', () => vmx_start_preemption_timer(zero, 0));
  expect(inject(zero)).toBe(0);
  expect(vmcs12(zero).vm_exit_reason).toBe(exitReason.PREEMPTION_TIMER);
});

test('an exit stops the preemption timer', () => {
  const m = l2Machine({ pin: [pinControl.PREEMPTION_TIMER, pinControl.EXT_INTR] });
  byHand(m, () => {
    vmcs12(m).vmx_preemption_timer_value = 2;
  });
  complete(m, 'vcpu0', () => vmx_start_preemption_timer(m, 0));
  requestOfL1(m, 0x51);
  check(m);
  expect(m.vcpu[0]!.nested.preemption_timer.armed).toBe(false);
});

test('a #GP of L2 is injected first; an interrupt for L1 needs an exit behind the entry', () => {
  const m = l2Machine();
  requestOfL1(m, 0x51);
  byHand(m, () => {
    m.vcpu[0]!.exception_pending = true;
  });
  expect(inject(m)).toBe(1);
  const { vmcs02, guest_mode, exception_pending } = m.vcpu[0]!;
  expect([vmcs02.vm_entry_intr_info, guest_mode, exception_pending]).toEqual([
    INTR_INFO_VALID + 0x30d,
    true,
    false,
  ]);
});

test('an MTF exit that is owed brings KVM back behind a blocked entry', () => {
  const m = l2Machine();
  byHand(m, () => {
    m.vcpu[0]!.nested.mtf_pending = true;
    m.vcpu[0]!.nested.nested_run_pending = true;
  });
  expect([inject(m), m.vcpu[0]!.guest_mode]).toEqual([1, true]);
  byHand(m, () => {
    m.vcpu[0]!.nested.nested_run_pending = false;
  });
  check(m);
  expect(vmcs12(m).vm_exit_reason).toBe(exitReason.MONITOR_TRAP_FLAG);
});

test('R45: a halted L2 whose event has to wait does not go back to user space', () => {
  const after = (value: string) => {
    const m = l2Machine({ switches: { 'block-ignore-ebusy': value } });
    requestOfL1(m, 0x51);
    byHand(m, () => {
      m.vcpu[0]!.mp_state = mpState.HALTED;
      m.vcpu[0]!.interrupt.injected = true;
    });
    const result = complete(m, 'vcpu0', () => vcpu_block(m, 0));
    return [result, m.vcpu[0]!.mp_state, m.vcpu[0]!.spec.block_ebusy];
  };
  expect(after('on')).toEqual([1, mpState.RUNNABLE, 0]);
  expect(after('off')).toEqual([0, mpState.HALTED, 1]);
});

test('R30: a harvest while L2 runs makes EVENT and leaves the RVI of L2 alone', () => {
  const after = (value: string) => {
    const m = l2Machine({ switches: { 'rvi-l1-only': value } });
    byHand(m, () => {
      m.vcpu[0]!.pi_desc.pir.set(0x51);
      m.vcpu[0]!.pi_desc.on = true;
    });
    complete(m, 'vcpu0', () => vmx_sync_pir_to_irr(m, 0));
    const { vmcs02, requests } = m.vcpu[0]!;
    return [vmcs02.guest_intr_status, requests.has(KVM_REQ.EVENT)];
  };
  expect(after('on')).toEqual([0, true]);
  expect(after('off')).toEqual([0x51, false]);
});

test('R64: the EOI-exit bitmap of L1 waits for the end of L2', () => {
  const after = (value: string) => {
    const m = l2Machine({ switches: { 'eoi-bitmap-defer-in-l2': value } });
    byHand(m, () => {
      const [pin] = m.vm.ioapic.redirtbl;
      pin!.low = 0x8051;
    });
    complete(m, 'vcpu0', () => vcpu_scan_ioapic(m, 0));
    if (m.vcpu[0]!.requests.has(KVM_REQ.LOAD_EOI_EXITMAP)) {
      complete(m, 'vcpu0', () => vcpu_load_eoi_exitmap(m, 0));
    }
    const { vmcs02, load_eoi_exitmap_pending } = m.vcpu[0]!;
    return [vmcs02.eoi_exit_bitmap1.has(0x11), load_eoi_exitmap_pending];
  };
  expect(after('on')).toEqual([false, true]);
  expect(after('off')).toEqual([true, false]);
});

test('R42: what L1 could not take becomes a reason to end L2 at its entry', () => {
  const eventMade = (value: string) => {
    const m = l2Machine({ switches: { 'event-on-nested-entry': value } });
    requestOfL1(m, 0x51);
    byHand(m, () => {
      m.vcpu[0]!.guest_mode = false;
      m.vcpu[0]!.loaded_vmcs = loadedVmcs.VMCS01;
    });
    complete(m, 'vcpu0', () => nested_vmx_enter_non_root_mode(m, 0, false));
    return m.vcpu[0]!.requests.has(KVM_REQ.EVENT);
  };
  expect([eventMade('on'), eventMade('off')]).toEqual([true, false]);
});

test('R42: what L2 could not take is looked at when L1 goes on', () => {
  const eventMade = (value: string) => {
    const m = l2Machine({ switches: { 'event-on-nested-exit': value } });
    byHand(m, () => {
      m.vcpu[0]!.nmi_pending = 1;
    });
    complete(m, 'vcpu0', () => __nested_vmx_vmexit(m, 0));
    return m.vcpu[0]!.requests.has(KVM_REQ.EVENT);
  };
  expect([eventMade('on'), eventMade('off')]).toEqual([true, false]);
});

test('an interrupt that L1 wants wakes a halted L2, whatever L2 holds back', () => {
  const m = l2Machine();
  requestOfL1(m, 0x51);
  byHand(m, () => {
    m.vcpu[0]!.guest.rflags_if = false;
  });
  expect(complete(m, 'vcpu0', () => kvm_vcpu_has_events(m, 0))).toBe(true);
});
