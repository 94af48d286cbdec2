// The way into the guest and out of it: the last look, the exits, what is taken when.

import { expect, test } from 'vitest';
import { kvm_make_request } from '#sim/kvm/kvm_main.ts';
import { KVM_REQ } from '#sim/state/requests.ts';
import { hostVector, mpState, vcpuMode } from '#sim/state/vcpu.ts';
import type { Machine } from '#sim/steps.ts';
import { byHand, goOn, goTo, smallMachine, standsBefore, takeStep } from '../small_machine.ts';

const TPR = 0xfee0_0080;
const reading = { vcpu0: [{ op: 'read', operands: [TPR] }] } as const;

const interrupt = (m: Machine): void =>
  byHand(m, () => {
    m.cpu[0]!.pending.set(hostVector.RESCHEDULE);
  });

test('a request that comes after the first look is found by the last: no entry', () => {
  const m = smallMachine({ programs: reading });
  goTo(m, 'vcpu0', 'vcpu_enter_guest', 'interrupts off');
  byHand(m, () => kvm_make_request(m, 0, KVM_REQ.TLB_FLUSH));
  goTo(m, 'vcpu0', 'vcpu_enter_guest', 'is any request pending?');
  expect([m.vcpu[0]!.stat.vm_entries, m.vcpu[0]!.mode]).toEqual([0, vcpuMode.OUTSIDE_GUEST_MODE]);
  goOn(m, 'vcpu0');
  expect(m.vcpu[0]!.requests.any()).toBe(false);
  expect(m.vcpu[0]!.stat).toMatchObject({ vm_entries: 1, tlb_flush_all: 1 });
});

test('mode EXITING at the last look keeps the vCPU out as well', () => {
  const m = smallMachine({ programs: reading });
  goTo(m, 'vcpu0', 'vcpu_enter_guest', 'final check');
  byHand(m, () => {
    m.vcpu[0]!.mode = vcpuMode.EXITING_GUEST_MODE;
  });
  goTo(m, 'vcpu0', 'vcpu_enter_guest', 'is any request pending?');
  expect(m.vcpu[0]!.stat.vm_entries).toBe(0);
});

test('with the last look switched off the vCPU enters over the request', () => {
  const m = smallMachine({ programs: reading, switches: { 'final-request-check': 'off' } });
  goTo(m, 'vcpu0', 'vcpu_enter_guest', 'interrupts off');
  byHand(m, () => kvm_make_request(m, 0, KVM_REQ.TLB_FLUSH));
  goTo(m, 'vcpu0', 'vmEntry', 'VM entry');
  takeStep(m, 'vcpu0');
  expect([m.vcpu[0]!.non_root, m.vcpu[0]!.requests.has(KVM_REQ.TLB_FLUSH)]).toEqual([true, true]);
});

test('interrupts are off from before mode = IN_GUEST_MODE until after OUTSIDE', () => {
  const m = smallMachine({ programs: reading });
  const seen: [number, boolean][] = [];
  for (let i = 0; i < 60 && m.ready(0); i++) {
    takeStep(m, 'vcpu0');
    seen.push([m.vcpu[0]!.mode, m.cpu[0]!.irqs_on]);
  }
  expect(seen.filter(([mode, on]) => mode !== vcpuMode.OUTSIDE_GUEST_MODE && on)).toEqual([]);
  expect(seen.some(([mode, on]) => mode === vcpuMode.OUTSIDE_GUEST_MODE && !on)).toBe(true);
});

test('an IPI that waits at the entry makes the guest exit before its first instruction', () => {
  const m = smallMachine({ programs: reading });
  goTo(m, 'vcpu0', 'vmEntry', 'VM entry');
  interrupt(m);
  goTo(m, 'vcpu0', 'vcpu_enter_guest', 'is any request pending?');
  expect([m.vcpu[0]!.vmcs01.vm_exit_reason, m.actor[0]!.pc]).toEqual([1, 0]);
  expect(m.cpu[0]!.pending.any()).toBe(false);
});

test('an IPI that comes inside an instruction is taken when that has completed', () => {
  const m = smallMachine({
    programs: { vcpu0: [...reading.vcpu0, { op: 'pause', operands: [] }] },
  });
  goTo(m, 'vcpu0', 'guestAccess', 'access');
  interrupt(m);
  goTo(m, 'vcpu0', 'vmEntry', 'VM exit');
  expect(m.actor[0]!.pc).toBe(1);
});

test('a request is cleared before its handler runs, so one made meanwhile survives', () => {
  const m = smallMachine({ programs: reading });
  byHand(m, () => kvm_make_request(m, 0, KVM_REQ.APIC_PAGE_RELOAD));
  goTo(m, 'vcpu0', 'vmx_set_apic_access_page_addr');
  expect(m.vcpu[0]!.requests.has(KVM_REQ.APIC_PAGE_RELOAD)).toBe(false);
  byHand(m, () => kvm_make_request(m, 0, KVM_REQ.APIC_PAGE_RELOAD));
  goOn(m, 'vcpu0');
  expect(m.vcpu[0]!.stat.reloads).toBe(2);
});

test('cleared after its handler, the request made meanwhile goes with the first', () => {
  const m = smallMachine({ programs: reading, switches: { 'req-clear-before-handle': 'off' } });
  byHand(m, () => kvm_make_request(m, 0, KVM_REQ.APIC_PAGE_RELOAD));
  goTo(m, 'vcpu0', 'vmx_set_apic_access_page_addr');
  byHand(m, () => kvm_make_request(m, 0, KVM_REQ.APIC_PAGE_RELOAD));
  goOn(m, 'vcpu0');
  expect([m.vcpu[0]!.stat.reloads, m.vcpu[0]!.requests.any()]).toEqual([1, false]);
});

test('requests are handled in the order of vcpu_enter_guest: flushes before the reload', () => {
  const m = smallMachine({ programs: reading });
  byHand(m, () => {
    for (const request of [
      KVM_REQ.APICV_UPDATE,
      KVM_REQ.APIC_PAGE_RELOAD,
      KVM_REQ.TLB_FLUSH_CURRENT,
      KVM_REQ.TLB_FLUSH,
    ]) {
      kvm_make_request(m, 0, request);
    }
  });
  const order = goOn(m, 'vcpu0').filter((label) => /EP4TA|find the private|inhibit/.test(label));
  // TLB_FLUSH does what TLB_FLUSH_CURRENT asked for.
  expect(order).toEqual([
    expect.stringContaining('flush every EP4TA'),
    expect.stringContaining('find the private memslot'),
    expect.stringContaining('inhibit reasons'),
  ]);
});

test('EVENT is cleared behind all requests', () => {
  const m = smallMachine({ programs: reading });
  byHand(m, () => kvm_make_request(m, 0, KVM_REQ.EVENT));
  goOn(m, 'vcpu0');
  expect(m.vcpu[0]!.requests.any()).toBe(false);
});

test('HLT makes the vCPU sleep; UNBLOCK and a wake-up let it go on behind the HLT', () => {
  const m = smallMachine({
    programs: { vcpu0: [{ op: 'hlt', operands: [] }, ...reading.vcpu0] },
  });
  goOn(m, 'vcpu0');
  expect(standsBefore(m, 'vcpu0')).toBe('kvm_vcpu_block "asleep"');
  expect([m.vcpu[0]!.mp_state, m.actor[0]!.pc]).toEqual([mpState.HALTED, 1]);
  byHand(m, () => {
    kvm_make_request(m, 0, KVM_REQ.UNBLOCK);
    m.vcpu[0]!.task_state = 0;
  });
  goOn(m, 'vcpu0');
  expect(m.actor[0]!.pc).toBe(2);
});

test('posted vectors are harvested at the entry, and RVI names the highest', () => {
  const m = smallMachine({ programs: reading });
  byHand(m, () => {
    const { pi_desc } = m.vcpu[0]!;
    pi_desc.pir.set(0x31);
    pi_desc.pir.set(0x91);
    pi_desc.on = true;
  });
  goTo(m, 'vcpu0', 'vmEntry', 'VM entry');
  const { pi_desc, apic, vmcs01 } = m.vcpu[0]!;
  expect([pi_desc.on, pi_desc.pir.any()]).toEqual([false, false]);
  expect([apic.irr.has(0x31), apic.irr.has(0x91)]).toEqual([true, true]);
  expect(vmcs01.guest_intr_status & 0xff).toBe(0x91);
});

test('without ON nobody looks at PIR', () => {
  const m = smallMachine({ programs: reading });
  byHand(m, () => {
    m.vcpu[0]!.pi_desc.pir.set(0x31);
  });
  goOn(m, 'vcpu0');
  expect([m.vcpu[0]!.pi_desc.pir.any(), m.vcpu[0]!.apic.irr.any()]).toEqual([true, false]);
});
