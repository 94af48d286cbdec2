// The way into the guest and out of it: the last look, the exits, what is taken when.

import { expect, test } from 'vitest';
import { put_page } from '#sim/host/frames.ts';
import { hva_to_pfn } from '#sim/host/page_table.ts';
import { kvm_make_request } from '#sim/kvm/kvm_main.ts';
import { kvm_flush_remote_tlbs } from '#sim/kvm/mmu_notifier.ts';
import { vcpu_run } from '#sim/kvm/x86.ts';
import { eptpOf, rootOf } from '#sim/state/addresses.ts';
import { pfn_to_hpa } from '#sim/state/machine.ts';
import type { Program } from '#sim/state/program.ts';
import { KVM_REQ, type RequestNumber } from '#sim/state/requests.ts';
import { hostVector, mpState, vcpuMode } from '#sim/state/vcpu.ts';
import type { Machine } from '#sim/steps.ts';
import {
  begin,
  byHand,
  complete,
  goOn,
  goTo,
  smallMachine,
  standsBefore,
  takeStep,
} from '../small_machine.ts';

const TPR = 0xfee0_0080;
const reading = { vcpu0: [{ op: 'read', operands: [TPR] }] } as const;

/** A guest that has enabled its APIC by software. */
const enabled = (programs: Readonly<Record<string, Program>>): Machine => {
  const m = smallMachine({ programs });
  byHand(m, () => {
    m.vcpu[0]!.apic.spiv = 0x1ff;
    m.vcpu[0]!.apic.sw_enabled = true;
  });
  return m;
};

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

test('EVENT is taken behind all requests, and looked at in a turn without any', () => {
  const looks = (...requests: RequestNumber[]): string[] => {
    const m = smallMachine({ programs: reading });
    byHand(m, () => {
      for (const request of requests) kvm_make_request(m, 0, request);
    });
    const labels: string[] = [];
    begin(m, 'vcpu0', () => vcpu_run(m, 0, [], []));
    while (!standsBefore(m, 'vcpu0').includes('interrupts off')) {
      labels.push(standsBefore(m, 'vcpu0'));
      takeStep(m, 'vcpu0');
    }
    expect(m.vcpu[0]!.requests.any()).toBe(false);
    return labels.filter((label) => /is request|INIT or SIPI|inhibit reasons/.test(label));
  };
  const look = 'kvm_check_request "is request {request} set?"';
  const events = 'kvm_apic_accept_events "is INIT or SIPI pending?"';
  expect(looks()).toEqual([look]);
  expect(looks(KVM_REQ.EVENT).slice(-2)).toEqual([look, events]);
  expect(looks(KVM_REQ.EVENT, KVM_REQ.APICV_UPDATE).slice(-4)).toEqual([
    expect.stringContaining('inhibit reasons'),
    look,
    look,
    events,
  ]);
});

/** Which roots have translations left on CPU 0 once the requests are handled. */
const rootsLeft = (switches: Readonly<Record<string, string>>, ...requests: RequestNumber[]) => {
  const m = smallMachine({ programs: reading, switches });
  byHand(m, () => {
    Object.assign(m.cpu[0]!.tlb.find(({ valid }) => !valid)!, {
      valid: true,
      ep4ta: eptpOf(2),
      gfn: 7,
    });
    for (const request of requests) kvm_make_request(m, 0, request);
  });
  goTo(m, 'vcpu0', 'vcpu_enter_guest', 'interrupts off');
  const { stat } = m.vcpu[0]!;
  const left = m.cpu[0]!.tlb.filter(({ valid }) => valid).map(({ ep4ta }) => rootOf(ep4ta));
  return { left, all: stat.tlb_flush_all, current: stat.tlb_flush_current };
};

const { TLB_FLUSH, TLB_FLUSH_CURRENT } = KVM_REQ;

test('TLB_FLUSH flushes every root, TLB_FLUSH_CURRENT the current one', () => {
  expect(rootsLeft({}, TLB_FLUSH)).toEqual({ left: [], all: 1, current: 0 });
  expect(rootsLeft({}, TLB_FLUSH_CURRENT)).toEqual({ left: [2], all: 0, current: 1 });
  expect(rootsLeft({}, TLB_FLUSH, TLB_FLUSH_CURRENT)).toEqual({ left: [], all: 1, current: 0 });
});

test('without zap-flush-all-roots the handler of TLB_FLUSH flushes the current root only', () => {
  const off = { 'zap-flush-all-roots': 'off' };
  expect(rootsLeft(off, TLB_FLUSH)).toEqual({ left: [2], all: 0, current: 1 });
  // Nor does it do what TLB_FLUSH_CURRENT asks for.
  expect(rootsLeft(off, TLB_FLUSH, TLB_FLUSH_CURRENT)).toEqual({ left: [2], all: 0, current: 2 });
});

test('cleared late, a request is cleared by vcpu_enter_guest, its handler being done', () => {
  const m = smallMachine({ programs: reading, switches: { 'req-clear-before-handle': 'off' } });
  byHand(m, () => kvm_make_request(m, 0, TLB_FLUSH));
  goTo(m, 'vcpu0', 'vcpu_enter_guest', 'clear request {request}, its handler being done');
  expect([m.vcpu[0]!.stat.tlb_flush_all, m.vcpu[0]!.requests.has(TLB_FLUSH)]).toEqual([1, true]);
  takeStep(m, 'vcpu0');
  expect(m.vcpu[0]!.requests.has(TLB_FLUSH)).toBe(false);
});

/** The guest accesses its page 1, whose frame APIC_ACCESS_ADDR names. */
const atOffset = (offset: number) => {
  const gpa = 0x1000 + offset;
  const m = smallMachine({
    memoryPages: 2,
    programs: {
      vcpu0: [
        { op: 'write', operands: [gpa, 0x51] },
        { op: 'read', operands: [gpa] },
      ],
    },
  });
  const pfn = complete(m, 'mm', () => hva_to_pfn(m, m.pte[1]!.hva));
  byHand(m, () => {
    put_page(m, pfn);
    m.vcpu[0]!.vmcs01.apic_access_addr = pfn_to_hpa(pfn);
  });
  goOn(m, 'vcpu0');
  const { stat, guest } = m.vcpu[0]!;
  return {
    exits: stat.apic_access_exits,
    bytes: m.frame[pfn]!.data.u32(offset),
    read: guest.value,
    held: m.frame[pfn]!.refcount - 1,
  };
};

test('in the frame of APIC_ACCESS_ADDR only the TPR is virtualized: KVM does the rest', () => {
  expect(atOffset(0x84)).toEqual({ exits: 2, bytes: 0x51, read: 0x51, held: 0 });
  expect(atOffset(0x80)).toEqual({ exits: 0, bytes: 0, read: 0x51, held: 0 });
});

test('HLT makes the vCPU sleep; an interrupt and a wake-up let it go on behind the HLT', () => {
  const m = enabled({ vcpu0: [{ op: 'hlt', operands: [] }, ...reading.vcpu0] });
  byHand(m, () => {
    m.vcpu[0]!.guest.rflags_if = true;
  });
  goOn(m, 'vcpu0');
  expect(standsBefore(m, 'vcpu0')).toBe('schedule "asleep"');
  expect([m.vcpu[0]!.mp_state, m.actor[0]!.pc]).toEqual([mpState.HALTED, 1]);
  byHand(m, () => {
    m.vcpu[0]!.apic.irr.set(0x51);
    m.vcpu[0]!.task_state = 0;
  });
  goOn(m, 'vcpu0');
  expect(m.actor[0]!.pc).toBe(2);
});

test('posted vectors are harvested at the entry, and RVI names the highest', () => {
  const m = enabled(reading);
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

/** What others see of `mode`, and whether something else is in the store buffer. */
const modeOf = (m: Machine) => [m.vcpu[0]!.mode, m.actor[0]!.stores > 0];

/** A guest that stands behind its store of `mode`, which others may not see yet. */
const behindModeStore = (mb: 'on' | 'off'): Machine => {
  const m = smallMachine({ vcpus: 2, programs: reading, switches: { 'mode-store-mb': mb } });
  goTo(m, 'vcpu0', 'vcpu_enter_guest', 'final check');
  return m;
};

test.each([
  ['on', 1],
  ['off', 0],
] as const)('R11: barrier %s: a maker that looks at mode now sends %i IPIs', (mb, sent) => {
  const m = behindModeStore(mb);
  takeStep(m, 'vcpu0');
  begin(m, 'mm', () => kvm_flush_remote_tlbs(m));
  goOn(m, 'mm');
  expect([m.cpu[0]!.ipis, m.vcpu[0]!.requests.has(KVM_REQ.TLB_FLUSH)]).toEqual([sent, true]);
  if (mb === 'off') takeStep(m, 'vcpu0');
  expect(standsBefore(m, 'vcpu0')).toContain('VM entry');
  const mode = mb === 'on' ? vcpuMode.EXITING_GUEST_MODE : vcpuMode.IN_GUEST_MODE;
  expect(modeOf(m)).toEqual([mode, false]);
});

test('a harvest empties the store buffer: clearing ON is a locked instruction', () => {
  const m = smallMachine({ programs: reading, switches: { 'mode-store-mb': 'off' } });
  byHand(m, () => {
    m.vcpu[0]!.apic.spiv = 0x1ff;
    m.vcpu[0]!.apic.sw_enabled = true;
    m.vcpu[0]!.pi_desc.pir.set(0x41);
    m.vcpu[0]!.pi_desc.on = true;
  });
  goTo(m, 'vcpu0', 'vmx_sync_pir_to_irr', 'is ON set?');
  expect(modeOf(m)).toEqual([vcpuMode.OUTSIDE_GUEST_MODE, true]);
  goTo(m, 'vcpu0', 'vmx_sync_pir_to_irr', 'clear ON');
  expect(modeOf(m)).toEqual([vcpuMode.IN_GUEST_MODE, false]);
});

test('an entry that is given up leaves nothing in the store buffer', () => {
  const m = behindModeStore('off');
  byHand(m, () => kvm_make_request(m, 0, KVM_REQ.TLB_FLUSH));
  goTo(m, 'vcpu0', 'vcpu_enter_guest', 'is any request pending?');
  expect(modeOf(m)).toEqual([vcpuMode.OUTSIDE_GUEST_MODE, false]);
});

test.each([
  ['on', vcpuMode.OUTSIDE_GUEST_MODE],
  ['off', vcpuMode.IN_GUEST_MODE],
] as const)('R16: outside-store-wmb %s: what others see when interrupts are back', (wmb, mode) => {
  const m = smallMachine({ programs: reading, switches: { 'outside-store-wmb': wmb } });
  goTo(m, 'vcpu0', 'vcpu_enter_guest', 'final check');
  byHand(m, () => kvm_make_request(m, 0, KVM_REQ.TLB_FLUSH));
  goTo(m, 'vcpu0', 'vcpu_enter_guest', 'interrupts on');
  takeStep(m, 'vcpu0');
  expect([m.cpu[0]!.irqs_on, m.vcpu[0]!.mode]).toEqual([true, mode]);
});
