// Enlightened VMCSs: what KVM takes from the page of L1, what it leaves there, and what it refuses.

import { expect, test } from 'vitest';
import { vmx_get_nested_state_pages } from '#sim/kvm/vmx/nested/pages.ts';
import { vmx_get_nested_state, vmx_set_nested_state } from '#sim/kvm/vmx/nested/state.ts';
import { EVMPTR_MAP_PENDING, INVALID_GPA } from '#sim/state/addresses.ts';
import { EVMCS_CLEAN_ALL, evmcsFields, evmcsOffset } from '#sim/state/evmcs.ts';
import { nestedStateFlag } from '#sim/state/nested_state.ts';
import { kvmExit } from '#sim/state/vcpu.ts';
import { vmInstructionError } from '#sim/state/vmcs.ts';
import { vmcs12Fields } from '#sim/state/vmcs12.ts';
import type { Machine } from '#sim/steps.ts';
import { runText } from '../scenario_run.ts';
import { byHand, complete } from '../small_machine.ts';

/** The VP-assist page is at 0x3000 and names a page at 0x4000. */
const named = `write 0x1000 0x11e57ed0 vmxon 0x1000 wrmsr 0x40000073 0x3001
  write 0x3028 1 write 0x3030 0x4000`;
/** That is an enlightened VMCS with a TPR shadow. */
const filled = `write 0x405c 1 write 0x4314 0x90200080 write 0x4064 2 write 0x4078 0x7000
  write 0x4198 0x6000 write 0x4270 0x501e`;
const fit = `${named} write 0x4000 1 ${filled}`;
const L2 = 'mov-to-cr8 5 vmcall mov-to-cr8 6 vmcall';
/** L1 moves RIP behind the VMCALL. */
const onward = 'write 0x4330 2';

interface Options {
  readonly l2?: string;
  readonly profile?: string;
  readonly evmcs?: string;
}

const after = (l1: string, { l2 = L2, profile = 'k7.0', evmcs = 'on' }: Options = {}): Machine =>
  runText(`scenario "test" profile ${profile}
    machine { vcpus 1 memory 10 nested on evmcs ${evmcs} }
    vcpu0 { ${l1} } vcpu0.l2 { ${l2} }`).machine;

const nestedOf = (m: Machine) => m.vcpu[0]!.nested;
const flagsOf = (m: Machine): boolean[] => {
  const { rflags_cf, rflags_zf } = m.vcpu[0]!.guest;
  return [rflags_cf, rflags_zf];
};

const forms = ['k7.0', 'gpc-v1', 'gpc-v4'] as const;

test('the fields stand where Hyper-V has them', () => {
  const at = (name: string) =>
    evmcsFields.find(({ encoding }) => encoding === vmcs12Fields[name])?.offset;
  expect(at('pin_based_vm_exec_control')).toBe(0x5c);
  expect(at('virtual_apic_page_addr')).toBe(0x198);
  expect(at('ept_pointer')).toBe(0x270);
  expect(at('vm_exit_reason')).toBe(0x2b4);
  expect(at('guest_rip')).toBe(0x330);
  expect([evmcsOffset.CLEAN_FIELDS, evmcsOffset.ENLIGHTENMENTS]).toEqual([0x338, 0x344]);
});

test.each(forms)('%s: VMLAUNCH takes the page, and L1 reads the exit in it', (profile) => {
  const m = after(`${fit} vmlaunch read 0x42b4`, { profile });
  expect([m.vcpu[0]!.guest.value, m.vcpu[0]!.stat.nested_exits]).toEqual([18, 1]);
  expect(nestedOf(m).hv_evmcs_vmptr).toBe(0x4000);
  expect(nestedOf(m).need_vmcs12_to_shadow_sync).toBe(false);
  expect(after(`${fit} vmlaunch read 0x4338`, { profile }).vcpu[0]!.guest.value).toBe(
    EVMCS_CLEAN_ALL,
  );
});

test.each(forms)('%s: VMRESUME takes what L1 does not call clean', (profile) => {
  const again = (clean: string) =>
    after(`${fit} vmlaunch ${onward} write 0x4198 0x8000 ${clean} vmresume`, { profile });
  const kept = again('');
  expect(nestedOf(kept).cached_vmcs12.virtual_apic_page_addr).toBe(0x6000);
  const told = again('write 0x4338 0xfffb');
  expect(nestedOf(told).cached_vmcs12.virtual_apic_page_addr).toBe(0x8000);
  expect([kept.vcpu[0]!.stat.nested_exits, told.vcpu[0]!.stat.nested_exits]).toEqual([2, 2]);
});

test('the MSR bitmap is merged again unless L1 says when it changes, and that it has not', () => {
  // A bitmap that is merged is mapped for a moment.
  const mapped = (enlightenments: string, clean: string): number =>
    after(`${fit} write 0x4344 ${enlightenments} vmlaunch ${onward} ${clean} vmresume`).vcpu[0]!
      .stat.hostmap_kmap;
  expect(mapped('2', '')).toBe(4);
  expect(mapped('0', '')).toBe(5);
  expect(mapped('2', 'write 0x4338 0xfffd')).toBe(5);
});

test('VMLAUNCH empties vmcs12 of another L2', () => {
  const m = after(`${fit} write 0x432c 1 write 0x6080 0x50 vmlaunch
    write 0x3030 0x8000 write 0x8000 1 write 0x805c 1 write 0x8314 0x80000080 write 0x8064 2
    write 0x8270 0x501e vmlaunch`);
  const { cached_vmcs12: vmcs12, hv_evmcs_vmptr } = nestedOf(m);
  expect([hv_evmcs_vmptr, vmcs12.virtual_apic_page_addr, vmcs12.msr_bitmap]).toEqual([
    0x8000, 0, 0,
  ]);
  expect(m.vcpu[0]!.stat.nested_exits).toBe(2);
});

test('a page of an unknown version is no VMCS; one where no memory is raises #UD', () => {
  for (const profile of forms) {
    const unknown = after(`${named} write 0x4000 2 ${filled} vmlaunch`, { profile });
    expect([...flagsOf(unknown), nestedOf(unknown).hv_evmcs_vmptr]).toEqual([
      true,
      false,
      INVALID_GPA,
    ]);
    const nowhere = after(`${fit} write 0x3030 0x40000 vmlaunch`, { profile });
    expect([nowhere.vcpu[0]!.guest.ud, nestedOf(nowhere).hv_evmcs_vmptr]).toEqual([1, INVALID_GPA]);
  }
});

test('without the enlightenment in the VP-assist page there is no VMCS', () => {
  expect(flagsOf(after(`${fit} write 0x3028 0 vmlaunch`))).toEqual([true, false]);
  expect(flagsOf(after(`${fit} wrmsr 0x40000073 0x3000 vmlaunch`))).toEqual([true, false]);
});

test('a VM whose user space has not enabled them knows neither the MSR nor the page', () => {
  const m = after(`${fit} vmlaunch`, { evmcs: 'off' });
  expect([m.vcpu[0]!.guest.faulted, ...flagsOf(m)]).toEqual([1, true, false]);
});

test.each([
  ['posted interrupts', 'write 0x405c 0x81'],
  ['APIC accesses', 'write 0x4064 0x3'],
  ['virtual-interrupt delivery', 'write 0x4064 0x202'],
])('it cannot express %s: VMLAUNCH fails, and the page has the error', (_, change) => {
  const m = after(`${fit} ${change} vmlaunch read 0x42b0`);
  expect([...flagsOf(m), m.vcpu[0]!.guest.value]).toEqual([
    false,
    true,
    vmInstructionError.INVALID_CONTROL_FIELD,
  ]);
});

test('VMCLEAR and VMXOFF release the page', () => {
  for (const profile of forms) {
    for (const release of ['vmclear 0x4000', 'vmxoff']) {
      const m = after(`${fit} vmlaunch ${release}`, { profile });
      const { hv_evmcs_vmptr, hv_evmcs_map, caches } = nestedOf(m);
      expect([hv_evmcs_vmptr, hv_evmcs_map.mapping]).toEqual([INVALID_GPA, 0]);
      expect(caches.hv_evmcs_cache.active).toBe(false);
      const pins = m.frame.map(({ pincount }) => pincount);
      expect(Math.max(...pins)).toBe(0);
    }
  }
});

const save = (m: Machine): number => complete(m, 'vcpu0', () => vmx_get_nested_state(m, 0));
const restore = (m: Machine): number => complete(m, 'vcpu0', () => vmx_set_nested_state(m, 0));
const getPages = (m: Machine): boolean =>
  complete(m, 'vcpu0', () => vmx_get_nested_state_pages(m, 0));

test('what is saved holds what L1 has written since, clean or not', () => {
  const m = after(`${fit} vmlaunch write 0x4198 0x8000`);
  save(m);
  const { flags, vmcs12, vmcs12_pa } = m.vcpu[0]!.user_nested_state;
  expect([flags.has(nestedStateFlag.EVMCS), vmcs12_pa]).toEqual([true, INVALID_GPA]);
  expect(vmcs12.virtual_apic_page_addr).toBe(0x8000);
});

test.each(forms)('%s: a restored one is mapped with the other pages', (profile) => {
  const m = after(`${fit} vmlaunch`, { profile });
  save(m);
  expect(restore(m)).toBe(0);
  expect(nestedOf(m).hv_evmcs_vmptr).toBe(EVMPTR_MAP_PENDING);
  expect(getPages(m)).toBe(true);
  expect(nestedOf(m).hv_evmcs_vmptr).toBe(0x4000);
  // vmcs12 is newer than the page.
  expect(nestedOf(m).need_vmcs12_to_shadow_sync).toBe(true);
});

test('user space is told where a restored one is not there any more', () => {
  const m = after(`${fit} vmlaunch`);
  save(m);
  restore(m);
  byHand(m, () => {
    m.vm.memslot[0]!.npages = 4;
  });
  expect([getPages(m), m.vcpu[0]!.exit_reason]).toEqual([false, kvmExit.INTERNAL_ERROR]);
});
