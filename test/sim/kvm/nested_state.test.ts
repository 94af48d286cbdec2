// KVM_GET_NESTED_STATE and KVM_SET_NESTED_STATE: what is accepted, what is kept, what is lost.

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { vmx_get_nested_state, vmx_set_nested_state } from '#sim/kvm/vmx/nested/state.ts';
import { INVALID_GPA } from '#sim/state/addresses.ts';
import { nestedStateFlag } from '#sim/state/nested_state.ts';
import { KVM_REQ } from '#sim/state/requests.ts';
import { loadedVmcs } from '#sim/state/vcpu.ts';
import { VMCS12_REVISION } from '#sim/state/vmcs12.ts';
import type { Machine } from '#sim/steps.ts';
import { byHand, complete, smallMachine } from '../small_machine.ts';

const EINVAL = 22;

interface Case {
  readonly id: string;
  readonly precondition: string;
  readonly fields: Readonly<Record<string, string | number>>;
  readonly expect: string;
  readonly desc: string;
}

const table: { readonly cases: readonly Case[] } = JSON.parse(
  readFileSync(new URL('../../data/nested-expect-vmx.json', import.meta.url), 'utf8'),
);

const ALL_ONES = '0xffffffffffffffff';
const numberOf = (text: string | number | undefined): number =>
  text === ALL_ONES ? INVALID_GPA : Number(text ?? 0);

/** The table leaves flags to the host: this one has enlightened VMCSs only where a case says so. */
const flagsOf = (text: string | number | undefined, evmcs: boolean): number => {
  if (typeof text !== 'string') return text ?? 0;
  if (text.startsWith('EVMCS if')) return evmcs ? 1 << nestedStateFlag.EVMCS : 0;
  if (text.includes('after v08')) return evmcs ? 1 << nestedStateFlag.EVMCS : 0;
  return Number(text);
};

const fill = (m: Machine, { fields }: Case, evmcs: boolean): void => {
  const state = m.vcpu[0]!.user_nested_state;
  state.flags.setWord(0, flagsOf(fields['flags'], evmcs));
  state.format = numberOf(fields['format']);
  state.size = numberOf(fields['size']);
  state.vmxon_pa = numberOf(fields['vmxon_pa']);
  state.vmcs12_pa = numberOf(fields['vmcs12_pa']);
  state.smm_flags.setWord(0, numberOf(fields['smm_flags']));
  state.vmx_flags.setWord(0, numberOf(fields['vmx_flags']));
  state.vmcs12.revision_id = numberOf(fields['data_revision_id']);
};

const setState = (m: Machine): number => complete(m, 'user', () => vmx_set_nested_state(m, 0));

const machine = (): Machine => smallMachine({ memoryPages: 8, profile: 'k7.0' });

test('the cases of the self-test, one behind the other on one vCPU', () => {
  const m = machine();
  let evmcs = false;
  // A NULL pointer never reaches KVM here: user space of the model always has a state.
  for (const one of table.cases.filter(({ fields }) => fields['pointer'] === undefined)) {
    evmcs ||= one.precondition.includes('eVMCS enabled');
    byHand(m, () => {
      m.vm.enable_vmx = one.precondition.includes('with VMX');
      m.vcpu[0]!.nested.enlightened_vmcs_enabled = evmcs;
      fill(m, one, evmcs);
    });
    const wanted = one.expect === 'OK' ? 0 : -EINVAL;
    expect([one.id, one.desc, setState(m)]).toEqual([one.id, one.desc, wanted]);
  }
  const { user_nested_state: state } = m.vcpu[0]!;
  complete(m, 'user', () => vmx_get_nested_state(m, 0));
  expect([state.vmxon_pa, state.vmcs12_pa, state.size]).toEqual([INVALID_GPA, INVALID_GPA, 128]);
});

/** A vCPU with a vmcs12 that may be entered, as another host saved it. */
const withSavedL2 = (): Machine => {
  const m = machine();
  byHand(m, () => {
    m.vm.enable_vmx = true;
    const { user_nested_state: state } = m.vcpu[0]!;
    state.size = 4224;
    state.flags.set(nestedStateFlag.GUEST_MODE);
    state.vmxon_pa = 0x1000;
    state.vmcs12_pa = 0x2000;
    state.vmcs12.revision_id = VMCS12_REVISION;
    state.vmcs12.guest_rip = 3;
    state.vmcs12.pin_based_vm_exec_control.set(0);
  });
  return m;
};

test('an active L2 is restored with its pages still to come', () => {
  const m = withSavedL2();
  expect(setState(m)).toBe(0);
  const { guest_mode, loaded_vmcs, nested, requests } = m.vcpu[0]!;
  expect([guest_mode, loaded_vmcs, m.actor[0]!.pc]).toEqual([true, loadedVmcs.VMCS02, 3]);
  expect([nested.vmxon, nested.current_vmptr]).toEqual([true, 0x2000]);
  expect(requests.has(KVM_REQ.GET_NESTED_STATE_PAGES)).toBe(true);
});

test('what was saved of an active L2 restores to the same', () => {
  const m = withSavedL2();
  setState(m);
  const { user_nested_state: state, nested } = m.vcpu[0]!;
  byHand(m, () => {
    nested.pi_pending = true;
    m.actor[0]!.pc = 5;
  });
  expect(complete(m, 'user', () => vmx_get_nested_state(m, 0))).toBe(4224);
  expect([state.flags.has(nestedStateFlag.GUEST_MODE), state.vmcs12.guest_rip]).toEqual([true, 5]);
  expect(setState(m)).toBe(0);
  expect([m.actor[0]!.pc, nested.pi_pending]).toEqual([5, false]);
});

test('a vmcs12 that fails its checks leaves the vCPU in VMX operation, outside L2', () => {
  const m = withSavedL2();
  byHand(m, () => {
    m.vcpu[0]!.user_nested_state.vmcs12.guest_activity_state = 2;
  });
  expect(setState(m)).toBe(-EINVAL);
  const { guest_mode, nested } = m.vcpu[0]!;
  expect([guest_mode, nested.vmxon, nested.nested_run_pending]).toEqual([false, true, false]);
});

test('a wrong revision of vmcs12 is refused', () => {
  const m = withSavedL2();
  byHand(m, () => {
    m.vcpu[0]!.user_nested_state.vmcs12.revision_id = 7;
  });
  expect(setState(m)).toBe(-EINVAL);
});
