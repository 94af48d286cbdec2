// What KVM answers when user space, or a guest, asks for what cannot be.

import { describe, expect, test } from 'vitest';
import type { Machine } from '#sim/steps.ts';
import { type RunOfTest, runText } from '../scenario_run.ts';

const run = (text: string): RunOfTest => runText(`scenario "x" ${text}`);
const machineOf = (text: string): Machine => run(text).machine;

/** What the last ioctl of user space gave, before any vCPU has run. */
const errnoOf = (instructions: string, machine = ''): number => {
  const { scenario, machine: m } = run(`machine { vcpus 2 memory 2 slot-pages 1 ${machine} }
    user { ${instructions} } schedule { user on }`);
  return m.actor[scenario.actors.indexOf('user')]!.errno;
};

describe('errno of user space', () => {
  const EEXIST = -17;
  const EINVAL = -22;
  const ids = 'x2apic on x2apic-ids 32bit';
  test.each<[string, number, string?]>([
    ['set-mp-state vcpu0 HALTED', 0],
    ['set-mp-state vcpu0 77', EINVAL],
    ['set-mp-state vcpu0 5', EINVAL],
    ['set-vapic-addr vcpu0 0x1000', 0],
    // KVM takes a word that is not aligned, and one that crosses into the next page.
    ['set-vapic-addr vcpu0 0x1001', 0],
    ['set-vapic-addr vcpu0 0xffe', 0],
    ['set-vapic-addr vcpu0 0x1ffe', EINVAL],
    ['set-vapic-addr vcpu0 0x2000', EINVAL],
    ['set-apic-base vcpu0 0xfee00c00 0', 0],
    ['set-apic-base vcpu0 0xfee00800 0x4000', EINVAL],
    ['set-apic-base vcpu0 0xfee00800 0x4000', 0, 'maxphyaddr 48'],
    ['set-apic-base vcpu0 0xfee00801 0', EINVAL],
    ['set-apic-base vcpu0 0xfee00400 0', EINVAL],
    ['set-apic-base vcpu0 0xfee00c00 0', EINVAL, 'x2apic-cpuid off'],
    ['set-lapic-registers vcpu0 0xf0 0x1ff', 0],
    ['set-lapic-registers vcpu0 0x20 5', 0, 'x2apic on'],
    ['set-lapic-registers vcpu0 0x20 5', EINVAL, ids],
    ['set-lapic-registers vcpu0 0x20 0', 0, ids],
    ['get-lapic vcpu0', 0],
    ['get-lapic vcpu0', EINVAL, 'td on'],
    ['set-lapic vcpu0 0x51', EINVAL, 'td on'],
    ['save-restore vcpu0', EINVAL, 'td on'],
    ['set-guest-debug vcpu0 BLOCKIRQ', 0],
    ['delete-memslot 1', 0],
    ['delete-memslot 9', EINVAL],
    ['delete-memslot 0x7ffd', EINVAL],
    ['move-memslot 1 0x5000', 0],
    ['move-memslot 1 0x5001', EINVAL],
    ['move-memslot 1 0xfee00000', EEXIST],
    ['set-memory-region 2 0x3000 0x1000 1', 0],
    ['set-memory-region 2 0x3000 0x1001 1', EINVAL],
    ['set-memory-region 2 0x1000 0x1000 1', EEXIST],
  ])('%s', (instructions, errno, machine) => {
    expect(errnoOf(instructions, machine)).toBe(errno);
  });

  test('an ioctl that succeeds takes the error of the one before back', () => {
    expect(errnoOf('delete-memslot 9 delete-memslot 1')).toBe(0);
  });
});

test('a refused page leaves the APIC disabled by software, as its SPIV said', () => {
  const m = machineOf(`machine { x2apic on x2apic-ids 32bit interrupts on }
    user { set-lapic-registers vcpu0 0x20 5 0xf0 0xff 0x80 0x20 } schedule { user on }`);
  const { id, spiv, sw_enabled, tpr } = m.vcpu[0]!.apic;
  expect([id, spiv, sw_enabled, tpr]).toEqual([0, 0xff, false, 0]);
});

describe('#GP of a guest', () => {
  const faultsOf = (wrmsr: string, machine = ''): number =>
    machineOf(`machine { memory 1 ${machine} } vcpu0 { ${wrmsr} }`).vcpu[0]!.guest.faulted;
  test.each<[string, number, string?]>([
    ['wrmsr 0x1b 0xfee00900', 0],
    ['wrmsr 0x1b 0xfee00b00', 1],
    ['wrmsr 0x1b 0xfee00500', 1],
    ['wrmsr64 0x1b 0xfee00900 0x4000', 1],
    ['wrmsr64 0x1b 0xfee00900 0x4000', 0, 'maxphyaddr 48'],
    ['wrmsr 0x1b 0xfee00d00', 1, 'x2apic-cpuid off'],
    ['wrmsr 0x4b564d04 0x101', 0],
    ['wrmsr 0x4b564d04 0x103', 1],
    ['wrmsr 0x4b564d04 0x5001', 1],
  ])('%s', (wrmsr, faults, machine) => {
    expect(faultsOf(wrmsr, machine)).toBe(faults);
  });
});

describe('vectors below 16, which a real APIC would refuse', () => {
  const sent = (machine: string, actors: string): Machine =>
    machineOf(`machine { interrupts on ${machine} } ${actors}`);
  const pending = (m: Machine): [boolean, number, number] => {
    const { apic, guest } = m.vcpu[0]!;
    return [apic.irr.has(0xf), guest.delivered_count, apic.esr];
  };

  test.each(['apicv on', 'apicv off'])(
    'an MSI stays in IRR: its class is never above PPR, %s',
    (how) => {
      expect(pending(sent(how, 'vcpu0 { repeat 9 { pause } } dev { msi 0xf vcpu0 }'))).toEqual([
        true,
        0,
        0,
      ]);
    },
  );

  test.each(['apicv on', 'apicv off'])('so does an IPI, and ESR says nothing, %s', (how) => {
    expect(pending(sent(how, 'vcpu0 { write 0xfee00300 0x4400f pause pause }'))).toEqual([
      true,
      0,
      0,
    ]);
  });
});

test('KVM_RUN fails where user space has unmapped the memory of a slot', () => {
  const { machine: m, scenario } = run(`machine { memory 1 } mm { munmap 0 } vcpu0 { read 0x0 }
    schedule { mm on }`);
  expect([m.actor[0]!.errno, scenario.actors[0]]).toEqual([-14, 'vcpu0']);
});

describe('the paravirtual EOI', () => {
  const exits = (machine: string, send: string, eoi: string): number => {
    const m = machineOf(`machine { memory 1 interrupts on ${machine} }
      vcpu0 { read8 0x10 wrmsr 0x4b564d04 0x11 ${send} pause vmcall handler ${eoi} iret }`);
    const { stat, guest, apic } = m.vcpu[0]!;
    expect([guest.delivered_count, guest.faulted, apic.isr.any()]).toEqual([1, 0, false]);
    return stat.vm_exits;
  };
  const byMmio = 'write 0xfee00300 0x40041';
  const byMsr = 'wrmsr 0x830 0x40041';
  test.each<[string, string, string, number]>([
    ['in xAPIC mode it saves the exit for the write', 'apicv off', byMmio, 1],
    ['in x2APIC mode that for the WRMSR', 'apicv off x2apic on', byMsr, 1],
    ['with APICv the byte is never set, and EOI does not exit', 'apicv on', byMmio, 0],
  ])('%s', (_, machine, send, saved) => {
    const without = exits(machine, send, 'eoi');
    expect(without - exits(machine, send, 'pv-eoi 0x10')).toBe(saved);
  });

  test('a byte that is not in the EPT yet costs an exit, and the EOI is written', () => {
    const m = machineOf(`machine { memory 1 interrupts on apicv off }
      vcpu0 { wrmsr 0x4b564d04 0x11 ${byMmio} pause vmcall handler pv-eoi 0x10 iret }`);
    const { stat, apic, apic_attention } = m.vcpu[0]!;
    expect([stat.ept_violations > 0, apic.isr.any(), apic_attention.any()]).toEqual([
      true,
      false,
      false,
    ]);
    expect(stat.emulated_apic_mmio).toBe(2);
  });
});
