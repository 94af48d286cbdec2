/** What user space asks of a vCPU or of the VM by ioctl. */
import { EINVAL } from '../kvm/errno.ts';
import { IOAPIC_REG_SELECT, IOAPIC_REG_WINDOW, ioapic_mmio_write } from '../kvm/ioapic.ts';
import {
  kvm_vcpu_ioctl_get_lapic,
  kvm_vcpu_ioctl_set_lapic,
  type LapicState,
} from '../kvm/lapic/state.ts';
import { kvm_lapic_set_vapic_addr } from '../kvm/lapic/vapic.ts';
import { kvm_arch_vcpu_ioctl_set_mpstate } from '../kvm/mp_state.ts';
import { APIC_IRR } from '../state/apicdef.ts';
import { irqchipMode } from '../state/vm.ts';
import { type Machine, scenarioActor } from '../steps.ts';
import { programRoute } from './user_ioapic.ts';
import { withMutex } from './user_space.ts';

const getLapic = scenarioActor(function* getLapic(m: Machine, vcpu: number) {
  const state: LapicState | undefined = yield* kvm_vcpu_ioctl_get_lapic(m, vcpu);
  return state === undefined ? -EINVAL : 0;
});

/** KVM_GET_LAPIC. */
export const ioctlGetLapic = scenarioActor(function* ioctlGetLapic(m: Machine, vcpu: number) {
  yield* withMutex(m, vcpu, () => getLapic(m, vcpu));
});

const addToIrr = scenarioActor(function* addToIrr(m: Machine, vcpu: number, vector: number) {
  const state: LapicState | undefined = yield* kvm_vcpu_ioctl_get_lapic(m, vcpu);
  if (state === undefined) return -EINVAL;
  yield m.step('user space adds vector {vector} to IRR', vector);
  state[(APIC_IRR >>> 2) + 4 * (vector >>> 5)]! |= 1 << (vector & 31);
  const result: number = yield* kvm_vcpu_ioctl_set_lapic(m, vcpu, state);
  return result;
});

/** KVM_GET_LAPIC, a change in user space, and KVM_SET_LAPIC, as a migration does it. */
export const ioctlSetLapic = scenarioActor(function* ioctlSetLapic(
  m: Machine,
  vcpu: number,
  vector: number,
) {
  yield* withMutex(m, vcpu, () => addToIrr(m, vcpu, vector));
});

/** KVM_SET_MP_STATE. */
export const ioctlSetMpState = scenarioActor(function* ioctlSetMpState(
  m: Machine,
  vcpu: number,
  state: number,
) {
  yield* withMutex(m, vcpu, () => kvm_arch_vcpu_ioctl_set_mpstate(m, vcpu, state));
});

/** KVM_SET_VAPIC_ADDR. */
export const ioctlSetVapicAddr = scenarioActor(function* ioctlSetVapicAddr(
  m: Machine,
  vcpu: number,
  gpa: number,
) {
  yield* withMutex(m, vcpu, () => kvm_lapic_set_vapic_addr(m, vcpu, gpa));
});

const firstRedirection = 0x10;

/** Both halves of a redirection entry, the low one last: it is what unmasks the pin. */
export const programIoapic = scenarioActor(function* programIoapic(
  m: Machine,
  pin: number,
  low: number,
  high: number,
) {
  if (m.vm.irqchip_mode === irqchipMode.SPLIT) {
    yield* programRoute(m, pin, low, high);
    return;
  }
  const register = firstRedirection + 2 * pin;
  yield* ioapic_mmio_write(m, IOAPIC_REG_SELECT, register + 1);
  yield* ioapic_mmio_write(m, IOAPIC_REG_WINDOW, high);
  yield* ioapic_mmio_write(m, IOAPIC_REG_SELECT, register);
  yield* ioapic_mmio_write(m, IOAPIC_REG_WINDOW, low);
});
