// VMX instructions of L1: what they check, in which order, and what is left where they fail.

import { describe, expect, test } from 'vitest';
import { kvmExit } from '#sim/state/vcpu.ts';
import { cpuControl, exitReason, vmInstructionError } from '#sim/state/vmcs.ts';
import type { Machine } from '#sim/steps.ts';
import { runText } from '../scenario_run.ts';

const REVISION = '0x11e57ed0';

/** A VMCS that is current and clear, with nothing in it. */
const current = `write 0x1000 ${REVISION} write 0x2000 ${REVISION}
  vmxon 0x1000 vmclear 0x2000 vmptrld 0x2000`;
/** The same, fit for an entry. */
const fit = `${current}
  vmwrite pin_based_vm_exec_control 0x9
  vmwrite cpu_based_vm_exec_control 0x80000080
  vmwrite secondary_vm_exec_control 0x2
  vmwrite ept_pointer 0x301e`;
/** With a virtual-APIC page. */
const shadowed = `${fit}
  vmwrite cpu_based_vm_exec_control 0x80200080
  vmwrite virtual_apic_page_addr 0x5000`;

interface Options {
  readonly l2?: string;
  readonly switches?: Readonly<Record<string, string>>;
}

/** Runs one vCPU of L1 to the end of its program. */
const after = (l1: string, { l2 = 'vmcall', switches = {} }: Options = {}): Machine => {
  const text = `scenario "test" profile k7.0
    machine { vcpus 1 memory 8 nested on }
    vcpu0 { ${l1} } vcpu0.l2 { ${l2} }`;
  return runText(text, { switches }).machine;
};

const nestedOf = (m: Machine) => m.vcpu[0]!.nested;
const errorOf = (m: Machine): number => nestedOf(m).cached_vmcs12.vm_instruction_error;
const flagsOf = (m: Machine): readonly boolean[] => {
  const { rflags_cf, rflags_zf } = m.vcpu[0]!.guest;
  return [rflags_cf, rflags_zf];
};

const succeeds = [false, false];
const failsInvalid = [true, false];
const failsValid = [false, true];
const e = vmInstructionError;

describe('instructions', () => {
  test.each([
    ['an unaligned VMXON region', 'vmxon 0x1800'],
    ['a VMXON region without the revision', 'vmxon 0x1000'],
    ['a VMXON region that is no memory', 'vmxon 0x100000'],
    ['VMXON again, without a VMCS', `write 0x1000 ${REVISION} vmxon 0x1000 vmxon 0x1000`],
    [
      'VMPTRLD of the VMXON region, without a VMCS',
      `write 0x1000 ${REVISION} vmxon 0x1000 vmptrld 0x1000`,
    ],
    ['VMREAD without a VMCS', `write 0x1000 ${REVISION} vmxon 0x1000 vmread guest_rip`],
    ['VMLAUNCH without a VMCS', `write 0x1000 ${REVISION} vmxon 0x1000 vmlaunch`],
    ['VMLAUNCH behind a VMCLEAR', `${fit} vmclear 0x2000 vmlaunch`],
    [
      'VMLAUNCH of a shadow VMCS',
      `${fit} write 0x4000 0x91e57ed0 vmclear 0x4000 vmptrld 0x4000 vmlaunch`,
    ],
  ])('%s: VMfailInvalid', (_, program) => {
    const m = after(program);
    expect(flagsOf(m)).toEqual(failsInvalid);
    expect(m.vcpu[0]!.guest_mode).toBe(false);
  });

  test.each([
    ['VMXON again', `${current} vmxon 0x1000`, e.VMXON_IN_VMX_ROOT_OPERATION],
    ['VMCLEAR unaligned', `${current} vmclear 0x2010`, e.VMCLEAR_INVALID_ADDRESS],
    ['VMCLEAR of the VMXON region', `${current} vmclear 0x1000`, e.VMCLEAR_VMXON_POINTER],
    ['VMPTRLD unaligned', `${current} vmptrld 0x2010`, e.VMPTRLD_INVALID_ADDRESS],
    ['VMPTRLD of the VMXON region', `${current} vmptrld 0x1000`, e.VMPTRLD_VMXON_POINTER],
    [
      'VMPTRLD without the revision',
      `${current} vmptrld 0x4000`,
      e.VMPTRLD_INCORRECT_VMCS_REVISION_ID,
    ],
    [
      'VMPTRLD of what is no memory',
      `${current} vmptrld 0x100000`,
      e.VMPTRLD_INCORRECT_VMCS_REVISION_ID,
    ],
    ['VMREAD of no field', `${current} vmread 0x7ffe`, e.UNSUPPORTED_VMCS_COMPONENT],
    ['VMWRITE of no field', `${current} vmwrite 0x7ffe 1`, e.UNSUPPORTED_VMCS_COMPONENT],
    ['VMRESUME of a clear VMCS', `${fit} vmresume`, e.VMRESUME_NONLAUNCHED_VMCS],
    ['VMLAUNCH twice', `${fit} vmlaunch vmlaunch`, e.VMLAUNCH_NONCLEAR_VMCS],
    [
      'the launch state comes before the controls',
      `${fit} vmwrite pin_based_vm_exec_control 0x80 vmresume`,
      e.VMRESUME_NONLAUNCHED_VMCS,
    ],
    [
      'controls that do not go together',
      `${fit} vmwrite pin_based_vm_exec_control 0x80 vmlaunch`,
      e.INVALID_CONTROL_FIELD,
    ],
  ])('%s: VMfailValid', (_, program, error) => {
    const m = after(program);
    expect([...flagsOf(m), errorOf(m)]).toEqual([...failsValid, error]);
  });

  test('outside VMX operation they raise #UD', () => {
    expect(after('vmptrld 0x2000 vmlaunch vmxoff').vcpu[0]!.guest.ud).toBe(3);
  });

  test('an instruction that succeeds clears the flags of one that failed', () => {
    expect(flagsOf(after(`${current} vmread 0x7ffe vmread guest_rip`))).toEqual(succeeds);
  });
});

test.each([
  ['a reserved type', 0x8000_0130],
  ['an NMI with a vector of its own', 0x8000_0203],
  ['an exception above 31', 0x8000_0320],
  ['#GP without an error code', 0x8000_030d],
  ['an interrupt with an error code', 0x8000_0830],
  ['a reserved bit', 0x8000_1030],
])('L1 cannot inject %s', (_, info) => {
  const m = after(`${fit} vmwrite vm_entry_intr_info_field ${info} vmlaunch`);
  expect(errorOf(m)).toBe(e.INVALID_CONTROL_FIELD);
});

test.each([
  ['nothing, whatever the rest says', 0x130],
  ['an interrupt', 0x8000_0030],
  ['the NMI', 0x8000_0202],
  ['#GP with its error code', 0x8000_0b0d],
])('L1 can inject %s', (_, info) => {
  const enter = `vmwrite guest_rflags 0x200 vmwrite vm_entry_intr_info_field ${info} vmlaunch`;
  expect(after(`${fit} ${enter}`).vcpu[0]!.stat.nested_exits).toBe(1);
});

describe('an entry that fails late', () => {
  test.each([
    ['by the CPU', 'off', 1],
    ['by KVM', 'on', 0],
  ])('a TPR threshold above VTPR is found %s', (_, late, entries) => {
    const switches = { 'vtpr-late-check': late };
    const m = after(`sti ${shadowed} vmwrite tpr_threshold 3 vmlaunch`, { switches });
    const { guest, stat, loaded_vmcs, guest_mode } = m.vcpu[0]!;
    expect([...flagsOf(m), errorOf(m)]).toEqual([...failsValid, e.INVALID_CONTROL_FIELD]);
    expect([stat.nested_entries, stat.nested_exits, loaded_vmcs, guest_mode]).toEqual([
      entries,
      0,
      0,
      false,
    ]);
    // L1 is as it was, and its VMCS too: it may be launched.
    expect(guest.rflags_if).toBe(true);
    expect(nestedOf(m).cached_vmcs12.launch_state).toBe(0);
    expect(nestedOf(m).cached_vmcs12.vm_exit_reason).toBe(0);
    expect(nestedOf(m).virtual_apic_map.mapping).toBe(late === 'on' ? 1 : 0);
  });

  test.each(['off', 'on'])('VTPR as high as the threshold will do, late check %s', (late) => {
    const switches = { 'vtpr-late-check': late };
    const program = `write 0x5080 0x30 ${shadowed} vmwrite tpr_threshold 3 vmlaunch`;
    expect(after(program, { switches }).vcpu[0]!.stat.nested_exits).toBe(1);
  });

  test('an activity state that there is not is an exit, and L1 goes on', () => {
    const m = after(`${fit} vmwrite guest_activity_state 2 vmlaunch vmread vm_exit_reason`);
    const { cached_vmcs12: vmcs12 } = nestedOf(m);
    expect(m.vcpu[0]!.guest.value).toBe(exitReason.INVALID_GUEST_STATE);
    expect([vmcs12.exit_qualification, vmcs12.launch_state]).toEqual([0, 0]);
    expect([m.vcpu[0]!.stat.nested_entries, nestedOf(m).nested_run_pending]).toEqual([0, false]);
  });

  test('an interrupt into an L2 that takes none is an exit, found by the CPU', () => {
    const m = after(`${fit} vmwrite vm_entry_intr_info_field 0x80000030 vmlaunch`);
    const { cached_vmcs12: vmcs12 } = nestedOf(m);
    expect([vmcs12.vm_exit_reason, vmcs12.launch_state]).toEqual([
      exitReason.INVALID_GUEST_STATE,
      0,
    ]);
    expect([m.vcpu[0]!.stat.nested_entries, m.vcpu[0]!.stat.nested_exits]).toEqual([1, 1]);
  });

  test('without memory for the APIC-access page user space is asked, at the instruction', () => {
    const l1 = `${shadowed} vmwrite secondary_vm_exec_control 0x3
      vmwrite apic_access_addr 0x100000 vmlaunch pause`;
    const m = after(l1);
    expect(m.vcpu[0]!.exit_reason).toBe(kvmExit.INTERNAL_ERROR);
    expect([m.vcpu[0]!.loaded_vmcs, nestedOf(m).nested_run_pending]).toEqual([0, false]);
    expect(flagsOf(m)).toEqual(succeeds);
    expect(m.actor[0]!.pc).toBe(instructionsBefore(l1, 'vmlaunch'));
  });
});

const operandsOf: Readonly<Record<string, number>> = {
  write: 2,
  vmwrite: 2,
  pause: 0,
  vmlaunch: 0,
};

/** The place of an instruction in a program of simple ones. */
const instructionsBefore = (program: string, op: string): number => {
  const words = program.split(/\s+/);
  let count = 0;
  for (let i = 0; words[i] !== op; i += 1 + (operandsOf[words[i]!] ?? 1)) count++;
  return count;
};

describe('vmcs02', () => {
  test('the exit makes the VMCS launched, the entry alone does not', () => {
    expect(nestedOf(after(`${fit} vmlaunch`)).cached_vmcs12.launch_state).toBe(1);
    const asleep = after(`${fit} vmlaunch`, { l2: 'pause' });
    expect(asleep.vcpu[0]!.stat.nested_exits).toBe(1);
    const halted = after(`${fit} vmwrite cpu_based_vm_exec_control 0x80000000 vmlaunch`, {
      l2: 'hlt',
    });
    expect(halted.vcpu[0]!.guest_mode).toBe(true);
    expect(nestedOf(halted).cached_vmcs12.launch_state).toBe(0);
  });

  test.each([
    ['its own, if L1 uses VPIDs', 0x22, 0x100],
    ['that of L1 otherwise', 0x2, 1],
  ])('the VPID of L2 is %s', (_, secondary, vpid) => {
    const m = after(`${fit} vmwrite secondary_vm_exec_control ${secondary} vmlaunch`);
    expect(m.vcpu[0]!.vmcs02.virtual_processor_id).toBe(vpid);
  });

  test('ports are not passed through, CR8 is only with a shadow', () => {
    const cpu = after(`${fit} vmwrite cpu_based_vm_exec_control 0x82000080 vmlaunch`).vcpu[0]!
      .vmcs02.cpu_based_vm_exec_control;
    expect([cpu.has(cpuControl.UNCOND_IO), cpu.has(cpuControl.IO_BITMAPS)]).toEqual([true, false]);
    expect([cpu.has(cpuControl.CR8_LOAD), cpu.has(cpuControl.CR8_STORE)]).toEqual([true, true]);
    const withShadow = after(`${shadowed} vmlaunch`).vcpu[0]!.vmcs02.cpu_based_vm_exec_control;
    expect(withShadow.has(cpuControl.CR8_LOAD)).toBe(false);
  });

  test('what L1 seldom writes follows with the next entry', () => {
    const again = `${fit} vmlaunch advance-rip vmwrite64 eoi_exit_bitmap1 5 0 vmresume`;
    const m = after(again, { l2: 'vmcall vmcall' });
    expect(m.vcpu[0]!.vmcs02.eoi_exit_bitmap1.word(0)).toBe(5);
    expect(nestedOf(m).dirty_vmcs12).toBe(false);
  });

  test.each([
    ['tpr_threshold', false],
    ['guest_rflags', false],
    ['pin_based_vm_exec_control', false],
    ['secondary_vm_exec_control', true],
    ['posted_intr_desc_addr', true],
  ])('a VMWRITE of %s makes vmcs12 dirty: %s', (field, dirty) => {
    const m = after(`${fit} vmlaunch vmwrite ${field} 1`);
    expect(nestedOf(m).dirty_vmcs12).toBe(dirty);
  });
});
