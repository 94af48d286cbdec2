/**
 * Writing what is L1's: a VMWRITE reaches the VMCS that is loaded, which is vmcs02 while L2 is
 * active.
 */
import { currentVmcs, type VmcsView } from '../../hw/vmcs.ts';
import { loadedVmcs } from '../../state/vcpu.ts';
import { type Body, kvm, type Machine } from '../../steps.ts';

const file = 'arch/x86/kvm/vmx/vmx.c';

/**
 * The loaded VMCS, for a field that is meant for vmcs01. With vmcs02 loaded the value lands in
 * what runs L2.
 */
export const vmcsOfL1 = (m: Machine, vcpu: number): VmcsView => {
  const { loaded_vmcs, spec } = m.vcpu[vcpu]!;
  if (loaded_vmcs === loadedVmcs.VMCS02) spec.misdirected_vmwrites++;
  return currentVmcs(m, vcpu);
};

/** The same for GUEST_INTR_STATUS: RVI and SVI of L2 come from vmcs12 alone. */
export const vmcsOfL1Status = (m: Machine, vcpu: number): VmcsView => {
  const { loaded_vmcs, spec } = m.vcpu[vcpu]!;
  if (loaded_vmcs === loadedVmcs.VMCS02) spec.l1_status_in_vmcs02++;
  return vmcsOfL1(m, vcpu);
};

/** Does the guard have to load another VMCS? */
const isForeign = (m: Machine, vcpu: number): boolean => {
  const { guest_mode, loaded_vmcs } = m.vcpu[vcpu]!;
  return guest_mode && loaded_vmcs === loadedVmcs.VMCS02;
};

const loadVmcs01 = (m: Machine, vcpu: number): void => {
  m.vcpu[vcpu]!.loaded_vmcs = loadedVmcs.VMCS01;
  m.vcpu[vcpu]!.stat.vmcs01_guard_switches++;
};

const loadVmcs02 = (m: Machine, vcpu: number): void => {
  m.vcpu[vcpu]!.loaded_vmcs = loadedVmcs.VMCS02;
};

/** `guard(vmx_vmcs01)` around a store that is part of a step. */
export const withVmcs01 = (m: Machine, vcpu: number, write: () => void): void => {
  const foreign = isForeign(m, vcpu);
  if (foreign) loadVmcs01(m, vcpu);
  write();
  if (foreign) loadVmcs02(m, vcpu);
};

/** Loads vmcs01 while L2 is active; with L1 active it is loaded. Says whether it did. */
export const vmx_load_vmcs01 = kvm(file, function* vmx_load_vmcs01(m: Machine, vcpu: number) {
  if (!isForeign(m, vcpu)) return false;
  yield m.step('L2 is active: load vmcs01 for the moment');
  loadVmcs01(m, vcpu);
  return true;
});

/** Loads the VMCS of L2 again. */
export const vmx_put_vmcs01 = kvm(file, function* vmx_put_vmcs01(m: Machine, vcpu: number) {
  yield m.step('load vmcs02 again');
  loadVmcs02(m, vcpu);
});

/** `guard(vmx_vmcs01)` around a body of steps, which nobody but this thread can see. */
export function* guardVmcs01(m: Machine, vcpu: number, body: Body<void>): Body<void> {
  const loaded: boolean = yield* vmx_load_vmcs01(m, vcpu);
  yield* body;
  if (loaded) yield* vmx_put_vmcs01(m, vcpu);
}
