/** KVM_SET_GUEST_DEBUG: the debugger of user space holds the guest's interrupts back. */
import {
  apicvUpdateLockFree,
  down_write_apicv_update,
  up_write_apicv_update,
} from '../host/locks.ts';
import { guestDebug } from '../state/program.ts';
import { apicvInhibitReason } from '../state/vm.ts';
import { kvm, type Machine } from '../steps.ts';
import { __kvm_set_or_clear_apicv_inhibit } from './apicv.ts';

const file = 'arch/x86/kvm/x86.c';

/** APICv delivers interrupts that KVM is to hold back: it is off while one vCPU asks for that. */
const kvm_arch_vcpu_guestdbg_update_apicv_inhibit = kvm(
  file,
  function* kvm_arch_vcpu_guestdbg_update_apicv_inhibit(m: Machine) {
    if (!m.vm.enable_apicv) return;
    const locks = m.on('apicv-update-lock');
    if (locks) {
      yield m.park('down_write apicv_update_lock', apicvUpdateLockFree);
      down_write_apicv_update(m);
    }
    const set = m.vcpu.some(({ guest_debug_blockirq }) => guest_debug_blockirq);
    yield* __kvm_set_or_clear_apicv_inhibit(m, apicvInhibitReason.BLOCKIRQ, set);
    if (!locks) return;
    yield m.step('up_write apicv_update_lock');
    up_write_apicv_update(m);
  },
);

/** Without KVM_GUESTDBG_ENABLE the other bits mean nothing. @omits every bit but BLOCKIRQ */
export const kvm_arch_vcpu_ioctl_set_guest_debug = kvm(
  file,
  function* kvm_arch_vcpu_ioctl_set_guest_debug(m: Machine, vcpu: number, control: number) {
    yield m.step('guest_debug = {control}', control);
    const { BLOCKIRQ } = guestDebug;
    m.vcpu[vcpu]!.guest_debug_blockirq = (control & BLOCKIRQ) === BLOCKIRQ;
    yield* kvm_arch_vcpu_guestdbg_update_apicv_inhibit(m);
    return 0;
  },
);
