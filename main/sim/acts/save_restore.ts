/** Saving a vCPU and restoring it, as user space does for a snapshot or a migration. */
import { EINVAL } from '../kvm/errno.ts';
import { kvm_arch_vcpu_ioctl_set_sregs } from '../kvm/lapic/base.ts';
import {
  kvm_vcpu_ioctl_get_lapic,
  kvm_vcpu_ioctl_set_lapic,
  type LapicState,
} from '../kvm/lapic/state.ts';
import { kvm_arch_vcpu_ioctl_set_mpstate } from '../kvm/mp_state.ts';
import {
  kvm_arch_vcpu_ioctl_get_mpstate,
  kvm_vcpu_ioctl_x86_get_vcpu_events,
  kvm_vcpu_ioctl_x86_set_vcpu_events,
  type VcpuEvents,
} from '../kvm/vcpu_state.ts';
import { vmx_get_nested_state, vmx_set_nested_state } from '../kvm/vmx/nested/state.ts';
import { type Body, type Machine, scenarioActor } from '../steps.ts';
import { withMutex } from './user_space.ts';

const TWO_32 = 0x1_0000_0000;

/** What user space has of a vCPU, besides `user_nested_state`. */
export interface SavedVcpu {
  readonly mpState: number;
  readonly events: VcpuEvents;
  readonly apicBase: number;
  readonly lapic: LapicState;
}

/**
 * KVM_GET_MP_STATE comes first: it may change what the others give. Nothing may send interrupts
 * from then on: what comes later is not in what was saved.
 */
export const saveVcpu = scenarioActor(function* saveVcpu(m: Machine, vcpu: number) {
  const mpState: number = yield* kvm_arch_vcpu_ioctl_get_mpstate(m, vcpu);
  const events: VcpuEvents = yield* kvm_vcpu_ioctl_x86_get_vcpu_events(m, vcpu);
  yield m.step('KVM_GET_SREGS: IA32_APIC_BASE');
  const apicBase = m.vcpu[vcpu]!.apic_base;
  const lapic: LapicState | undefined = yield* kvm_vcpu_ioctl_get_lapic(m, vcpu);
  if (m.vm.enable_vmx) yield* vmx_get_nested_state(m, vcpu);
  const saved: SavedVcpu | undefined = lapic && { mpState, events, apicBase, lapic };
  return saved;
});

/** KVM_SET_NESTED_STATE, of a VM whose guests see VMX. */
function* restoreNested(m: Machine, vcpu: number): Body<number> {
  return m.vm.enable_vmx ? yield* vmx_set_nested_state(m, vcpu) : 0;
}

/**
 * The mode of the APIC before its registers, and those before what depends on them. L2 comes before
 * the events: what is injected, blocked or halted is that of the level that runs.
 */
export const restoreVcpu = scenarioActor(function* restoreVcpu(
  m: Machine,
  vcpu: number,
  { mpState, events, apicBase, lapic }: SavedVcpu,
) {
  const [low, high] = [apicBase % TWO_32, Math.floor(apicBase / TWO_32)];
  const base: number = yield* kvm_arch_vcpu_ioctl_set_sregs(m, vcpu, low, high);
  if (base < 0) return base;
  const registers: number = yield* kvm_vcpu_ioctl_set_lapic(m, vcpu, lapic);
  if (registers < 0) return registers;
  const nested: number = yield* restoreNested(m, vcpu);
  if (nested < 0) return nested;
  const refused: number = yield* kvm_vcpu_ioctl_x86_set_vcpu_events(m, vcpu, events);
  if (refused < 0) return refused;
  const state: number = yield* kvm_arch_vcpu_ioctl_set_mpstate(m, vcpu, mpState);
  return state;
});

const saveThenRestore = scenarioActor(function* saveThenRestore(m: Machine, vcpu: number) {
  const saved: SavedVcpu | undefined = yield* saveVcpu(m, vcpu);
  if (saved === undefined) return -EINVAL;
  const result: number = yield* restoreVcpu(m, vcpu, saved);
  return result;
});

/** The vCPU is stopped, saved, and restored at once. */
export const saveAndRestore = scenarioActor(function* saveAndRestore(m: Machine, vcpu: number) {
  yield* withMutex(m, vcpu, () => saveThenRestore(m, vcpu));
});
