// APICv goes off and on: the reasons, the vCPUs that follow them, what is in vmcs01 then.

import { expect, test } from 'vitest';
import { kvm_set_or_clear_apicv_inhibit, kvm_vcpu_update_apicv } from '#sim/kvm/apicv.ts';
import { vmx_set_virtual_apic_mode } from '#sim/kvm/vmx/apicv.ts';
import { __nested_vmx_vmexit } from '#sim/kvm/vmx/nested/vmexit.ts';
import { apicAccessGfn } from '#sim/state/addresses.ts';
import { KVM_REQ } from '#sim/state/requests.ts';
import { vcpuMode } from '#sim/state/vcpu.ts';
import { apicvInhibitReason } from '#sim/state/vm.ts';
import { pinControl, secondaryControl } from '#sim/state/vmcs.ts';
import type { Machine } from '#sim/steps.ts';
import { begin, byHand, complete, goOn, goTo, isReady, smallMachine } from '../small_machine.ts';

const { BLOCKIRQ, APIC_ID_MODIFIED, IRQWIN, LOGICAL_ID_ALIASED } = apicvInhibitReason;
const k70 = { profile: 'k7.0' } as const;

const inhibit = (m: Machine, reason: number, set: boolean): void =>
  complete(m, 'user', () => kvm_set_or_clear_apicv_inhibit(m, reason, set));

const follow = (m: Machine, vcpu = 0): void =>
  byHand(m, () => {
    m.vcpu[vcpu]!.requests.clear(KVM_REQ.APICV_UPDATE);
    complete(m, `vcpu${vcpu}`, () => kvm_vcpu_update_apicv(m, vcpu));
  });

/** The controls that make APICv, as vmcs01 has them: PI, register virtualization, VID. */
const controls = (m: Machine): boolean[] => {
  const { pin_based_vm_exec_control: pin, secondary_vm_exec_control: secondary } =
    m.vcpu[0]!.vmcs01;
  return [
    pin.has(pinControl.POSTED_INTR),
    secondary.has(secondaryControl.APIC_REGISTER_VIRT),
    secondary.has(secondaryControl.VIRTUAL_INTR_DELIVERY),
  ];
};

const all = [true, true, true];
const none = [false, false, false];
const reasons = (m: Machine): number => m.vm.apicv_inhibit_reasons.word(0);

const inGuest = (m: Machine): void =>
  byHand(m, () => {
    for (const { index } of m.vcpu) {
      m.vcpu[index]!.mode = vcpuMode.IN_GUEST_MODE;
      m.cpu[index]!.irqs_on = false;
    }
  });

test('the reasons change only when every vCPU has left the guest', () => {
  const m = smallMachine({ vcpus: 2 });
  inGuest(m);
  const work = begin(m, 'user', () => kvm_set_or_clear_apicv_inhibit(m, BLOCKIRQ, true));
  goOn(m, 'user');
  expect([isReady(m, 'user'), reasons(m)]).toEqual([false, 0]);
  expect(m.vcpu.map(({ requests }) => requests.has(KVM_REQ.APICV_UPDATE))).toEqual([true, true]);
  for (const cpu of [0, 1]) {
    byHand(m, () => {
      m.cpu[cpu]!.irqs_on = true;
    });
    goOn(m, `irq${cpu}`);
  }
  goTo(m, 'user', 'kvm_zap_gfn_range');
  expect([work.done, reasons(m)]).toEqual([false, 1 << BLOCKIRQ]);
});

test('without the kick first, a vCPU in the guest runs on with the reasons changed', () => {
  const m = smallMachine({ switches: { 'apicv-kick-before-reasons': 'off' } });
  inGuest(m);
  begin(m, 'user', () => kvm_set_or_clear_apicv_inhibit(m, BLOCKIRQ, true));
  goOn(m, 'user');
  expect([isReady(m, 'user'), reasons(m)]).toEqual([false, 1 << BLOCKIRQ]);
  expect(m.vcpu[0]!.apic.apicv_active).toBe(true);
});

test('VMX drops the reasons that only SVM has', () => {
  const m = smallMachine();
  for (const reason of [IRQWIN, LOGICAL_ID_ALIASED]) inhibit(m, reason, true);
  expect([reasons(m), m.vcpu[0]!.requests.any()]).toEqual([0, false]);
});

test('a second reason only adds its bit, and APICv comes back with the last that goes', () => {
  const m = smallMachine();
  inhibit(m, BLOCKIRQ, true);
  follow(m);
  inhibit(m, APIC_ID_MODIFIED, true);
  inhibit(m, BLOCKIRQ, false);
  expect([reasons(m), m.vcpu[0]!.requests.has(KVM_REQ.APICV_UPDATE)]).toEqual([
    1 << APIC_ID_MODIFIED,
    false,
  ]);
  expect(m.vm.stat.apicv_switches).toBe(1);
  inhibit(m, APIC_ID_MODIFIED, false);
  follow(m);
  expect([reasons(m), controls(m)]).toEqual([0, all]);
});

test('a module parameter that is off keeps APICv off, whatever else is said', () => {
  const m = smallMachine({ enableApicv: false });
  inhibit(m, BLOCKIRQ, true);
  expect(reasons(m)).toBe(1 << apicvInhibitReason.DISABLED);
});

test('the inhibit zaps 0xfee00, so that the next access is emulated; without it the map stays', () => {
  const mapped = (['on', 'off'] as const).map((value) => {
    const m = smallMachine({ switches: { 'apicv-zap-on-inhibit': value } });
    inhibit(m, BLOCKIRQ, true);
    return m.ept[0]!.spte.some(({ present, gfn }) => present && gfn === apicAccessGfn);
  });
  expect(mapped).toEqual([false, true]);
});

test('a vCPU waits with its update while the reasons are being changed', () => {
  const m = smallMachine();
  begin(m, 'user', () => kvm_set_or_clear_apicv_inhibit(m, BLOCKIRQ, true));
  goTo(m, 'user', '__kvm_set_or_clear_apicv_inhibit', 'apicv_inhibit_reasons');
  const update = begin(m, 'vcpu0', () => kvm_vcpu_update_apicv(m, 0));
  goOn(m, 'vcpu0');
  expect(update.done).toBe(false);
  goOn(m, 'user');
  goOn(m, 'vcpu0');
  expect([update.done, m.vcpu[0]!.apic.apicv_active]).toEqual([true, false]);
});

test('a vCPU that loses APICv drops its controls and looks for events', () => {
  const m = smallMachine(k70);
  inhibit(m, BLOCKIRQ, true);
  follow(m);
  const { apic, requests } = m.vcpu[0]!;
  expect([apic.apicv_active, controls(m), requests.has(KVM_REQ.EVENT)]).toEqual([
    false,
    none,
    true,
  ]);
});

test('a disabled APIC has no APICv though nothing inhibits it', () => {
  const m = smallMachine(k70);
  byHand(m, () => {
    m.vcpu[0]!.apic_base = 0xfee0_0000;
  });
  follow(m);
  expect([m.vcpu[0]!.apic.apicv_active, controls(m)]).toEqual([false, none]);
});

/** APICv off, vector 0x80 in service, then on again. */
const activateInService = (profile: string): Machine => {
  const m = smallMachine({ profile });
  inhibit(m, BLOCKIRQ, true);
  follow(m);
  byHand(m, () => {
    m.vcpu[0]!.apic.isr.set(0x80);
    m.vcpu[0]!.apic.isr_count = 1;
  });
  inhibit(m, BLOCKIRQ, false);
  follow(m);
  return m;
};

test('activation writes SVI since v6.19; before, hardware believes that nothing is in service', () => {
  expect(activateInService('k6.19').vcpu[0]!.vmcs01.guest_intr_status >>> 8).toBe(0x80);
  expect(activateInService('k6.13').vcpu[0]!.vmcs01.guest_intr_status >>> 8).toBe(0);
});

test('deactivation counts ISR; irr_pending is set, left alone, or scanned, by the age', () => {
  const hints = (['true', 'untouched', 'scan'] as const).map((value) => {
    const m = smallMachine({ switches: { 'irr-pending-on-transition': value } });
    byHand(m, () => {
      for (const vector of [0x31, 0x51, 0x80]) m.vcpu[0]!.apic.isr.set(vector);
      m.vcpu[0]!.apic.irr_pending = false;
      if (value === 'scan') m.vcpu[0]!.apic.irr.set(0x90);
    });
    inhibit(m, BLOCKIRQ, true);
    follow(m);
    const { isr_count, highest_isr_cache, irr_pending } = m.vcpu[0]!.apic;
    return [isr_count, highest_isr_cache, irr_pending];
  });
  expect(hints).toEqual([
    [3, -1, true],
    [3, -1, false],
    [3, -1, true],
  ]);
});

/** L2 runs while APICv goes and comes back, or only goes. */
const inhibitedUnderL2 = (profile: string): Machine => {
  const m = smallMachine({ profile });
  byHand(m, () => {
    m.vcpu[0]!.guest_mode = true;
  });
  inhibit(m, BLOCKIRQ, true);
  follow(m);
  return m;
};

test('k7.0 writes vmcs01 at once though L2 runs', () => {
  const m = inhibitedUnderL2('k7.0');
  expect([m.vcpu[0]!.apic.apicv_active, controls(m)]).toEqual([false, none]);
});

test('k6.19 leaves vmcs01 alone until L2 ends, and then writes it', () => {
  const m = inhibitedUnderL2('k6.19');
  expect([m.vcpu[0]!.apic.apicv_active, controls(m)]).toEqual([false, all]);
  complete(m, 'vcpu0', () => __nested_vmx_vmexit(m, 0));
  expect([controls(m), m.vcpu[0]!.nested.update_vmcs01_apicv_status]).toEqual([none, false]);
});

test('R51: k6.13 asks for an update that finds nothing to do, and L1 runs with stale controls', () => {
  const m = inhibitedUnderL2('k6.13');
  complete(m, 'vcpu0', () => __nested_vmx_vmexit(m, 0));
  expect(m.vcpu[0]!.requests.has(KVM_REQ.APICV_UPDATE)).toBe(true);
  follow(m);
  expect([m.vcpu[0]!.apic.apicv_active, controls(m)]).toEqual([false, all]);
});

/** The APIC is switched to another mode, as vmcs01 then has it. */
const switchMode = (m: Machine, base: number): string[] => {
  byHand(m, () => {
    m.vcpu[0]!.apic_base = base;
  });
  complete(m, 'vcpu0', () => vmx_set_virtual_apic_mode(m, 0));
  const { secondary_vm_exec_control: secondary } = m.vcpu[0]!.vmcs01;
  return (['VIRTUALIZE_APIC_ACCESSES', 'VIRTUALIZE_X2APIC_MODE'] as const).filter((name) =>
    secondary.has(secondaryControl[name]),
  );
};

test('the mode of the APIC chooses what the CPU virtualizes, and which MSRs exit', () => {
  const m = smallMachine(k70);
  const { x2apic_read, x2apic_write } = m.vcpu[0]!.msr_bitmap;
  expect(switchMode(m, 0xfee0_0000)).toEqual([]);
  expect(switchMode(m, 0xfee0_0c00)).toEqual(['VIRTUALIZE_X2APIC_MODE']);
  const passed = [0x08, 0x0b, 0x39, 0x30].map((n) => [!x2apic_read.has(n), !x2apic_write.has(n)]);
  // TPR both ways, EOI only to write, the current count not at all, the ICR only to read.
  expect(passed).toEqual([
    [true, true],
    [false, true],
    [false, false],
    [true, false],
  ]);
  expect(switchMode(m, 0xfee0_0800)).toEqual(['VIRTUALIZE_APIC_ACCESSES']);
  expect([x2apic_read.count(), x2apic_write.count()]).toEqual([256, 256]);
});

test('a switch to xAPIC mode asks for a reload, and for a flush of what was cached before', () => {
  const asked = (['on', 'off'] as const).map((value) => {
    const m = smallMachine({ ...k70, switches: { 'mode-switch-flush': value } });
    switchMode(m, 0xfee0_0800);
    const { requests } = m.vcpu[0]!;
    return [KVM_REQ.APIC_PAGE_RELOAD, KVM_REQ.TLB_FLUSH_CURRENT].map((one) => requests.has(one));
  });
  expect(asked).toEqual([
    [true, true],
    [true, false],
  ]);
});

test('with L2 active it is the context of L1 that is flushed, and at once', () => {
  const m = smallMachine(k70);
  byHand(m, () => {
    m.vcpu[0]!.guest_mode = true;
  });
  expect(m.cpu[0]!.tlb.some(({ valid }) => valid)).toBe(true);
  switchMode(m, 0xfee0_0800);
  expect(m.cpu[0]!.tlb.some(({ valid }) => valid)).toBe(false);
  expect(m.vcpu[0]!.requests.has(KVM_REQ.TLB_FLUSH_CURRENT)).toBe(false);
});
