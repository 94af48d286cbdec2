/** Ioctls of user space whose answer a scenario can ask for: the actor's `errno`. */
import { EINVAL } from '../kvm/errno.ts';
import { kvm_arch_vcpu_ioctl_set_guest_debug } from '../kvm/guest_debug.ts';
import { kvm_arch_vcpu_ioctl_set_sregs } from '../kvm/lapic/base.ts';
import {
  kvm_vcpu_ioctl_get_lapic,
  kvm_vcpu_ioctl_set_lapic,
  type LapicState,
} from '../kvm/lapic/state.ts';
import { id_to_memslot, kvm_vm_ioctl_set_memory_region } from '../kvm/memslot.ts';
import { PAGE_SIZE } from '../state/machine.ts';
import { type Machine, scenarioActor } from '../steps.ts';
import { answer, withMutex } from './user_space.ts';

/** KVM_SET_GUEST_DEBUG. */
export const ioctlSetGuestDebug = scenarioActor(function* ioctlSetGuestDebug(
  m: Machine,
  vcpu: number,
  control: number,
) {
  yield* withMutex(m, vcpu, () => kvm_arch_vcpu_ioctl_set_guest_debug(m, vcpu, control));
});

/** KVM_SET_SREGS, with another value of IA32_APIC_BASE. */
export const ioctlSetSregs = scenarioActor(function* ioctlSetSregs(
  m: Machine,
  vcpu: number,
  low: number,
  high: number,
) {
  yield* withMutex(m, vcpu, () => kvm_arch_vcpu_ioctl_set_sregs(m, vcpu, low, high));
});

const replaceWords = scenarioActor(function* replaceWords(
  m: Machine,
  vcpu: number,
  words: readonly number[],
) {
  const state: LapicState | undefined = yield* kvm_vcpu_ioctl_get_lapic(m, vcpu);
  if (state === undefined) return -EINVAL;
  for (let i = 0; i < words.length; i += 2) {
    yield m.step('user space writes {value} at {offset} of the page', words[i + 1], words[i]);
    state[words[i]! >>> 2] = words[i + 1]!;
  }
  const result: number = yield* kvm_vcpu_ioctl_set_lapic(m, vcpu, state);
  return result;
});

/** KVM_GET_LAPIC, other words, KVM_SET_LAPIC; the words come as offset, value, offset, value … */
export const ioctlSetLapicWords = scenarioActor(function* ioctlSetLapicWords(
  m: Machine,
  vcpu: number,
  words: readonly number[],
) {
  yield* withMutex(m, vcpu, () => replaceWords(m, vcpu, words));
});

/** KVM_SET_USER_MEMORY_REGION. */
export const ioctlSetMemoryRegion = scenarioActor(function* ioctlSetMemoryRegion(
  m: Machine,
  slot: number,
  guest_phys_addr: number,
  memory_size: number,
  userspace_addr: number,
) {
  const region = { slot, guest_phys_addr, memory_size, userspace_addr };
  answer(m, yield* kvm_vm_ioctl_set_memory_region(m, region));
});

/** The same for a slot that keeps its memory: user space knows what it gave it. */
export const ioctlMoveMemslot = scenarioActor(function* ioctlMoveMemslot(
  m: Machine,
  id: number,
  guest_phys_addr: number,
) {
  const slot = m.vm.memslot[id_to_memslot(m, id)];
  const memory_size = (slot?.npages ?? 0) * PAGE_SIZE;
  const userspace_addr = slot?.userspace_addr ?? 0;
  const region = { slot: id, guest_phys_addr, memory_size, userspace_addr };
  answer(m, yield* kvm_vm_ioctl_set_memory_region(m, region));
});
