// Interrupts on their way into the guest without APICv: injected, held back, taken back.

import { expect, test } from 'vitest';
import {
  kvm_check_and_inject_events,
  process_nmi,
  vmx_complete_interrupts,
} from '#sim/kvm/inject.ts';
import { kvm_make_request } from '#sim/kvm/kvm_main.ts';
import type { Program } from '#sim/state/program.ts';
import { KVM_REQ } from '#sim/state/requests.ts';
import { hostVector, mpState, vcpuMode } from '#sim/state/vcpu.ts';
import { cpuControl, INTR_INFO_VALID } from '#sim/state/vmcs.ts';
import type { Machine } from '#sim/steps.ts';
import { byHand, complete, goOn, goTo, smallMachine } from '../small_machine.ts';

interface Wishes {
  readonly apicv?: boolean;
  readonly interrupts?: boolean;
  readonly program?: Program;
  readonly switches?: Readonly<Record<string, string>>;
}

const machineWith = ({ apicv = false, interrupts = true, program = [], switches }: Wishes) => {
  const m = smallMachine({
    profile: 'k7.0',
    enableApicv: apicv,
    programs: { vcpu0: program },
    switches: switches ?? {},
  });
  byHand(m, () => {
    const { apic, guest } = m.vcpu[0]!;
    guest.rflags_if = interrupts;
    apic.spiv = 0x1ff;
    apic.sw_enabled = true;
  });
  return m;
};

const request = (m: Machine, ...vectors: readonly number[]): void =>
  byHand(m, () => {
    for (const vector of vectors) m.vcpu[0]!.apic.irr.set(vector);
    m.vcpu[0]!.apic.irr_pending = true;
    kvm_make_request(m, 0, KVM_REQ.EVENT);
  });

const inject = (m: Machine): number =>
  complete(m, 'vcpu0', () => kvm_check_and_inject_events(m, 0));

const info = (m: Machine): number => m.vcpu[0]!.vmcs01.vm_entry_intr_info;
const window = (m: Machine): boolean =>
  m.vcpu[0]!.vmcs01.cpu_based_vm_exec_control.has(cpuControl.INTR_WINDOW);
const delivered = (m: Machine): number[] => {
  const { delivered, delivered_count } = m.vcpu[0]!.guest;
  return delivered.slice(0, delivered_count).map(({ vector }) => vector);
};

test('the highest request is put in service and injected', () => {
  const m = machineWith({});
  request(m, 0x31, 0x51);
  expect([inject(m), info(m)]).toEqual([0, INTR_INFO_VALID + 0x51]);
  const { apic } = m.vcpu[0]!;
  expect([apic.irr.has(0x51), apic.isr.has(0x51), window(m)]).toEqual([false, true, false]);
});

test('a guest that holds interrupts back gets them when its window opens', () => {
  const m = machineWith({
    interrupts: false,
    program: [
      { op: 'pause', operands: [] },
      { op: 'sti', operands: [] },
    ],
  });
  request(m, 0x51);
  goTo(m, 'vcpu0', 'vmEntry', 'VM entry');
  expect([info(m), window(m)]).toEqual([0, true]);
  goOn(m, 'vcpu0');
  expect([delivered(m), window(m), m.vcpu[0]!.stat.irq_window_exits]).toEqual([[0x51], false, 1]);
});

test('an event that was broken off comes again, and a new one waits for it', () => {
  const m = machineWith({});
  byHand(m, () => {
    m.vcpu[0]!.vmcs01.idt_vectoring_info = INTR_INFO_VALID + 0x41;
    vmx_complete_interrupts(m, 0);
  });
  request(m, 0x91);
  // 1: an exit is wanted right behind the entry.
  expect([inject(m), info(m)]).toEqual([1, INTR_INFO_VALID + 0x41]);
  expect(m.vcpu[0]!.apic.irr.has(0x91)).toBe(true);
});

test('an entry that is called off puts the interrupt back into its queue', () => {
  const m = machineWith({});
  request(m, 0x51);
  goTo(m, 'vcpu0', 'vcpu_enter_guest', 'final check');
  expect(info(m)).toBe(INTR_INFO_VALID + 0x51);
  byHand(m, () => kvm_make_request(m, 0, KVM_REQ.TLB_FLUSH));
  goTo(m, 'vcpu0', 'vcpu_enter_guest', 'is any request pending?');
  const { interrupt, requests } = m.vcpu[0]!;
  expect([info(m), interrupt.injected, interrupt.nr, requests.has(KVM_REQ.EVENT)]).toEqual([
    0,
    true,
    0x51,
    true,
  ]);
  goOn(m, 'vcpu0');
  expect(delivered(m)).toEqual([0x51]);
});

test('with APICv nothing is injected: the CPU delivers by itself', () => {
  const m = machineWith({ apicv: true });
  request(m, 0x51);
  goOn(m, 'vcpu0');
  expect([delivered(m), m.vcpu[0]!.stat.irq_injections]).toEqual([[0x51], 0]);
});

test('user space that debugs with BLOCKIRQ sees no interrupt injected', () => {
  const m = machineWith({});
  byHand(m, () => {
    m.vcpu[0]!.guest_debug_blockirq = true;
  });
  request(m, 0x51);
  expect([inject(m), info(m), m.vcpu[0]!.apic.irr.has(0x51)]).toEqual([0, 0, true]);
});

test('of many NMIs two are kept: one that runs and one that waits', () => {
  const m = machineWith({});
  byHand(m, () => {
    m.vcpu[0]!.nmi_queued = 5;
    kvm_make_request(m, 0, KVM_REQ.NMI);
  });
  goTo(m, 'vcpu0', 'vmEntry', 'VM entry');
  const { nmi_pending, nmi_queued, nmi_injected, vmcs01 } = m.vcpu[0]!;
  expect([nmi_pending, nmi_queued, nmi_injected]).toEqual([1, 0, true]);
  expect(vmcs01.cpu_based_vm_exec_control.has(cpuControl.NMI_WINDOW)).toBe(true);
});

test('HLT with an interrupt that can be taken does not sleep', () => {
  const m = machineWith({ program: [{ op: 'hlt', operands: [] }] });
  goTo(m, 'vcpu0', 'guestInstruction', 'HLT');
  request(m, 0x51);
  goTo(m, 'vcpu0', 'kvm_emulate_halt_noskip', 'mp_state');
  goTo(m, 'vcpu0', 'vmEntry', 'VM e');
  expect(m.vcpu[0]!.mp_state).toBe(mpState.RUNNABLE);
});

test('a vCPU asleep in HLT is woken by an interrupt, and goes on behind the HLT', () => {
  const m = machineWith({ program: [{ op: 'hlt', operands: [] }] });
  goOn(m, 'vcpu0');
  expect(m.vcpu[0]!.mp_state).toBe(mpState.HALTED);
  request(m, 0x51);
  byHand(m, () => {
    m.vcpu[0]!.task_state = 0;
  });
  goOn(m, 'vcpu0');
  expect(delivered(m)).toEqual([0x51]);
});

test('UNBLOCK alone wakes a vCPU, but it stays halted', () => {
  const m = machineWith({ program: [{ op: 'hlt', operands: [] }] });
  goOn(m, 'vcpu0');
  byHand(m, () => {
    kvm_make_request(m, 0, KVM_REQ.UNBLOCK);
    m.vcpu[0]!.task_state = 0;
  });
  goOn(m, 'vcpu0');
  const { mp_state, requests, spec } = m.vcpu[0]!;
  const { published, taken } = spec.request[KVM_REQ.UNBLOCK]!;
  expect([mp_state, requests.any(), taken]).toEqual([mpState.HALTED, false, published]);
});

test('R13: a fast path that goes on without a look misses what was posted meanwhile', () => {
  const missed = (['on', 'off'] as const).map((value) => {
    const m = machineWith({
      apicv: true,
      program: [{ op: 'hlt', operands: [] }],
      switches: { 'fastpath-recheck': value },
    });
    const post = (vector: number): void =>
      byHand(m, () => {
        m.vcpu[0]!.pi_desc.pir.set(vector);
        m.vcpu[0]!.pi_desc.on = true;
      });
    // The first ends HLT, so that the guest goes on at once; the second comes behind that look.
    goTo(m, 'vcpu0', 'vmEntry', 'VM exit');
    post(0x31);
    goTo(m, 'vcpu0', 'kvm_emulate_halt_noskip', 'mp_state');
    post(0x51);
    goTo(m, 'vcpu0', 'vmEntry', 'VM entry');
    return [m.vcpu[0]!.mode, m.vcpu[0]!.pi_desc.on];
  });
  expect(missed).toEqual([
    [vcpuMode.IN_GUEST_MODE, false],
    [vcpuMode.IN_GUEST_MODE, true],
  ]);
});

test('R12: with interrupts on behind the mode store, the host swallows the notification', () => {
  const swallowed = (['on', 'off'] as const).map((value) => {
    const m = machineWith({ apicv: true, switches: { 'irq-off-before-mode': value } });
    goTo(m, 'vcpu0', 'vcpu_enter_guest', 'final check');
    byHand(m, () => {
      m.cpu[0]!.pending.set(hostVector.POSTED_INTR);
    });
    goOn(m, 'irq0');
    return !m.cpu[0]!.pending.has(hostVector.POSTED_INTR);
  });
  expect(swallowed).toEqual([false, true]);
});

test('a look for NMIs that finds none asks for nothing', () => {
  const m = machineWith({});
  complete(m, 'vcpu0', () => process_nmi(m, 0));
  expect(m.vcpu[0]!.requests.has(KVM_REQ.EVENT)).toBe(false);
  byHand(m, () => {
    m.vcpu[0]!.nmi_queued = 1;
  });
  complete(m, 'vcpu0', () => process_nmi(m, 0));
  expect([m.vcpu[0]!.nmi_pending, m.vcpu[0]!.requests.has(KVM_REQ.EVENT)]).toEqual([1, true]);
});
