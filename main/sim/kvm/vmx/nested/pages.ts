/** L1's pages that vmcs02 points to: the APIC-access page, the virtual-APIC page, the descriptor. */

import { type Body, kvm, type Machine } from '../../../steps.ts';
import { guestFrameOf } from './vmcs12.ts';

const file = 'arch/x86/kvm/vmx/nested.c';

/** Gives up what is mapped of L1's pages. */
export function* releasePages(_m: Machine, _vcpu: number): Body<void> {}

/** The frame of L1's MSR bitmap, with a reference; −1 if there is no memory. */
export function* mapL1MsrBitmap(m: Machine, vcpu: number): Body<number> {
  return yield* guestFrameOf(m, m.vcpu[vcpu]!.nested.cached_vmcs12.msr_bitmap);
}

/** Translates what vmcs12 points to and writes vmcs02, which is loaded; false: internal error. */
export const nested_get_vmcs12_pages = kvm(
  file,
  function* nested_get_vmcs12_pages(m: Machine, vcpu: number) {
    yield m.step('L1 pages of vCPU {vcpu}', vcpu);
    return true as boolean;
  },
);

/** After an exit of L2: what the CPU may have written through vmcs02 is dirty. */
export const nested_mark_vmcs12_pages_dirty = kvm(
  file,
  function* nested_mark_vmcs12_pages_dirty(_m: Machine, _vcpu: number) {},
);

/** An exit to L1 ends the use of the pages. */
export const nested_put_vmcs12_pages = kvm(
  file,
  function* nested_put_vmcs12_pages(_m: Machine, _vcpu: number) {},
);
