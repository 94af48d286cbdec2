// A trust domain: interrupts go in by PIR and the notification, and nothing can be seen inside.

import { expect, test } from 'vitest';
import { readVirtualApic, writeVirtualApic } from '#sim/hw/apic_virtualization.ts';
import { kvm_set_or_clear_apicv_inhibit, kvm_vcpu_update_apicv } from '#sim/kvm/apicv.ts';
import { __apic_accept_irq } from '#sim/kvm/lapic/accept.ts';
import { kvm_apic_has_interrupt } from '#sim/kvm/lapic/priority.ts';
import { kvm_vcpu_ioctl_get_lapic } from '#sim/kvm/lapic/state.ts';
import { kvm_apic_init_sipi_allowed } from '#sim/kvm/mp_state.ts';
import { tdx_protected_apic_has_interrupt } from '#sim/kvm/tdx.ts';
import { vmx_sync_pir_to_irr } from '#sim/kvm/vmx/posted_intr.ts';
import { APIC_DM_FIXED, APIC_ID, APIC_PROCPRI } from '#sim/state/apicdef.ts';
import { firstFrame, hpa_to_pfn } from '#sim/state/machine.ts';
import type { Op, Program } from '#sim/state/program.ts';
import { apicvInhibitReason } from '#sim/state/vm.ts';
import { exitReason, pinControl } from '#sim/state/vmcs.ts';
import type { Machine } from '#sim/steps.ts';
import { goOn, goTo, standsBefore } from '../small_machine.ts';
import { does, machineWith } from './lapic_machine.ts';

const vector = 0x41;

const td = (...ops: Op[]): Machine =>
  machineWith({
    enableApicv: true,
    programs: { vcpu0: ops.map((op) => ({ op, operands: [] })) satisfies Program },
    vm: { td: true, irqchip: 'split' },
    apics: [{ mode: 'x2apic', interrupts: true }],
  });

const post = (m: Machine): number =>
  does(m, __apic_accept_irq(m, 0, APIC_DM_FIXED, vector, true, false));
const pending = (m: Machine): boolean => does(m, tdx_protected_apic_has_interrupt(m, 0));

test('the CPU has a virtual-APIC page that is not the one of KVM', () => {
  const m = td();
  const { vmcs01, apic } = m.vcpu[0]!;
  expect(hpa_to_pfn(vmcs01.virtual_apic_page_addr)).not.toBe(firstFrame);
  expect(readVirtualApic(m, 0, APIC_ID)).toBe(apic.id);
  writeVirtualApic(m, 0, APIC_PROCPRI, 0x50);
  expect(apic.ppr).toBe(0);
});

test('a vector is posted also where KVM takes APICv for inactive', () => {
  const m = td();
  m.vcpu[0]!.apic.apicv_active = false;
  post(m);
  const { pi_desc, apic } = m.vcpu[0]!;
  expect([pi_desc.pir.has(vector), pi_desc.on, apic.irr.any()]).toEqual([true, true, false]);
});

test('KVM neither harvests PIR nor looks into IRR', () => {
  const m = td();
  post(m);
  m.vcpu[0]!.apic.irr.set(0x61);
  expect(does(m, vmx_sync_pir_to_irr(m, 0))).toBe(-1);
  expect(does(m, kvm_apic_has_interrupt(m, 0))).toBe(-1);
  expect([m.vcpu[0]!.pi_desc.on, m.vcpu[0]!.pi_desc.pir.has(vector)]).toEqual([true, true]);
  expect(does(m, kvm_vcpu_ioctl_get_lapic(m, 0))).toBeUndefined();
});

test('an interrupt is pending if ON is set, or PIR is not empty while SN is set', () => {
  const m = td();
  const { pi_desc } = m.vcpu[0]!;
  expect(pending(m)).toBe(false);
  pi_desc.pir.set(vector);
  expect(pending(m)).toBe(false);
  pi_desc.sn = true;
  expect(pending(m)).toBe(true);
  pi_desc.pir.clearAll();
  pi_desc.on = true;
  expect(pending(m)).toBe(true);
});

test('at HLT with interrupts on the module says whether RVI is above VPPR', () => {
  const m = td();
  const { vmcs01, guest } = m.vcpu[0]!;
  vmcs01.guest_intr_status = vector;
  expect(pending(m)).toBe(false);
  vmcs01.vm_exit_reason = exitReason.HLT;
  expect(pending(m)).toBe(true);
  writeVirtualApic(m, 0, APIC_PROCPRI, 0x40);
  expect(pending(m)).toBe(false);
  writeVirtualApic(m, 0, APIC_PROCPRI, 0x30);
  guest.rflags_if = false;
  expect(pending(m)).toBe(false);
});

test('what KVM thinks of APICv changes nothing in the VMCS of a TD', () => {
  const m = td();
  const { vmcs01, apic } = m.vcpu[0]!;
  vmcs01.guest_intr_status = 0x5100;
  for (const set of [true, false]) {
    does(m, kvm_set_or_clear_apicv_inhibit(m, apicvInhibitReason.HYPERV, set));
    does(m, kvm_vcpu_update_apicv(m, 0));
    expect(apic.apicv_active).toBe(!set);
    expect(vmcs01.pin_based_vm_exec_control.has(pinControl.POSTED_INTR)).toBe(true);
  }
  expect(vmcs01.guest_intr_status).toBe(0x5100);
});

test('a TD takes no INIT', () => {
  expect(kvm_apic_init_sipi_allowed(td(), 0)).toBe(false);
});

test('what was posted outside is notified before the entry, and delivered inside', () => {
  const m = td('pause', 'hlt');
  goTo(m, 'vcpu0', 'vcpu_enter_guest', 'interrupts off');
  m.vcpu[0]!.pi_desc.pir.set(vector);
  m.vcpu[0]!.pi_desc.on = true;
  goTo(m, 'vcpu0', 'vmEntry', 'VM entry');
  expect(m.cpu[0]!.pending.any()).toBe(true);
  goOn(m, 'vcpu0');
  const { guest, apic, stat } = m.vcpu[0]!;
  expect([guest.delivered_count, guest.delivered[0]!.vector]).toEqual([1, vector]);
  expect([apic.irr.any(), apic.isr.any(), stat.irq_injections]).toEqual([false, false, 0]);
  expect(standsBefore(m, 'vcpu0')).toBe('schedule "asleep"');
});
