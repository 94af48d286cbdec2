/**
 * The posted-interrupt descriptor of a vCPU that is not running: preempted, or asleep on the
 * wake-up list of a CPU.
 */
import { smp_send_notification } from '../../host/irq.ts';
import { wakeupLockFree } from '../../host/locks.ts';
import { ndstOfCpu, POSTED_INTR_VECTOR, POSTED_INTR_WAKEUP_VECTOR } from '../../state/pi_desc.ts';
import { KVM_REQ } from '../../state/requests.ts';
import { type Body, kvm, type Machine } from '../../steps.ts';
import { kvm_make_all_cpus_request, kvm_vcpu_wake_up } from '../kvm_main.ts';
import { vmx_interrupt_blocked } from './blocked.ts';

const file = 'arch/x86/kvm/vmx/posted_intr.c';

interface Control {
  readonly nv: number;
  readonly ndst: number;
  readonly sn: boolean;
}

/**
 * Changes NV, NDST and SN by cmpxchg, which keeps an ON that a sender sets meanwhile. With a plain
 * store (`pi-control-cmpxchg` off) ON becomes what it was when the word was read.
 */
function* writeControl(m: Machine, vcpu: number, { nv, ndst, sn }: Control): Body<void> {
  const { pi_desc, spec } = m.vcpu[vcpu]!;
  let on = false;
  const whole = !m.on('pi-control-cmpxchg');
  if (whole) {
    yield m.step('read the control word');
    on = pi_desc.on;
  }
  yield m.step('write the control word: NV {nv}, NDST {ndst}', nv, ndst);
  pi_desc.nv = nv;
  pi_desc.ndst = ndst;
  if (pi_desc.sn !== sn) pi_desc.sn = sn;
  if (whole && pi_desc.on !== on) pi_desc.on = on;
  if (spec.in_pi_switch) spec.in_pi_switch = false;
}

/** The vCPU joins the list of a CPU, or (−1) leaves it. */
const moveTo = (m: Machine, vcpu: number, cpu: number, next: number): void => {
  const target = m.vcpu[vcpu]!;
  const holder = m.cpu[cpu]!.wakeup_vcpus_on_cpu_lock;
  if (holder !== 0 && holder !== m.current + 1) m.vm.spec.torn_wakeup_lists++;
  target.on_wakeup_list = next;
  target.spec.in_pi_switch = true;
};

/** Changes the list of a CPU under its lock. */
function* changeList(m: Machine, vcpu: number, cpu: number, next: number): Body<void> {
  if (next < 0 && !m.on('wakeup-list-prev-cpu-lock')) {
    yield m.step('leave the wake-up list of CPU {cpu}, without its lock', cpu);
    moveTo(m, vcpu, cpu, next);
    return;
  }
  yield m.park('lock the wake-up list', wakeupLockFree, cpu);
  m.cpu[cpu]!.wakeup_vcpus_on_cpu_lock = m.current + 1;
  yield m.step('change the wake-up list of CPU {cpu}', cpu);
  moveTo(m, vcpu, cpu, next);
  yield m.step('unlock the wake-up list');
  m.cpu[cpu]!.wakeup_vcpus_on_cpu_lock = 0;
}

/** What the IOMMU posted while SN was set has not set ON. */
function* recomputeOn(m: Machine, vcpu: number): Body<void> {
  const { pi_desc } = m.vcpu[vcpu]!;
  if (!m.on('sn-clear-recompute-on')) return;
  yield m.step('is PIR empty? if not, set ON');
  if (pi_desc.pir.any() && !pi_desc.on) pi_desc.on = true;
}

/** @kvm arch/x86/kvm/vmx/posted_intr.c */
const vmx_can_use_vtd_pi = (m: Machine): boolean => m.vm.enable_apicv && m.vm.assigned_devices > 0;

/** The vCPU comes to a CPU: notifications go there, and are not suppressed. */
export const vmx_vcpu_pi_load = kvm(
  file,
  function* vmx_vcpu_pi_load(m: Machine, vcpu: number, cpu: number) {
    const { pi_desc, cpu: previous } = m.vcpu[vcpu]!;
    if (!m.vm.enable_apicv) return;
    // A device may come or go while the vCPU is away.
    if (!m.on('pi-load-without-device') && !vmx_can_use_vtd_pi(m)) return;
    if (pi_desc.nv !== POSTED_INTR_WAKEUP_VECTOR && previous === cpu) {
      yield m.step('clear SN');
      if (!pi_desc.sn) return;
      pi_desc.sn = false;
    } else {
      // The list is that of the CPU it slept on, which need not be this one.
      if (pi_desc.nv === POSTED_INTR_WAKEUP_VECTOR) yield* changeList(m, vcpu, previous, -1);
      const ndst = ndstOfCpu(cpu);
      yield* writeControl(m, vcpu, { nv: POSTED_INTR_VECTOR, ndst, sn: false });
    }
    // SN is cleared before PIR is read: a post that saw SN set is found here.
    yield* recomputeOn(m, vcpu);
  },
);

/**
 * Can a sender that does not wake it post to a sleeping vCPU: hardware, of the IOMMU or of another
 * vCPU? @kvm arch/x86/kvm/vmx/posted_intr.c
 */
const vmx_needs_pi_wakeup = (m: Machine, vcpu: number): boolean => {
  const td = m.vcpu[vcpu]!.apic.guest_apic_protected;
  return (m.vm.enable_apicv && m.vm.enable_ipiv && !td) || vmx_can_use_vtd_pi(m);
};

/** The notification of a sleeping vCPU is the vector whose handler wakes it. */
const pi_enable_wakeup_handler = kvm(
  file,
  function* pi_enable_wakeup_handler(m: Machine, vcpu: number) {
    const { pi_desc, cpu } = m.vcpu[vcpu]!;
    yield* changeList(m, vcpu, cpu, cpu);
    const { ndst, sn } = pi_desc;
    yield* writeControl(m, vcpu, { nv: POSTED_INTR_WAKEUP_VECTOR, ndst, sn });
    // ON that was set before went out on the other vector, which wakes nobody.
    if (!pi_desc.on || !m.on('wakeup-selfipi')) return;
    yield m.step('ON is set: send the wake-up vector to this CPU');
    smp_send_notification(m, cpu, POSTED_INTR_WAKEUP_VECTOR);
  },
);

/** The vCPU leaves its CPU, asleep or preempted. */
export const vmx_vcpu_pi_put = kvm(file, function* vmx_vcpu_pi_put(m: Machine, vcpu: number) {
  const { pi_desc, blocking, preempted } = m.vcpu[vcpu]!;
  if (!vmx_needs_pi_wakeup(m, vcpu)) return;
  if (blocking && !vmx_interrupt_blocked(m, vcpu)) yield* pi_enable_wakeup_handler(m, vcpu);
  if (!preempted) return;
  yield m.step('preempted: set SN');
  pi_desc.sn = true;
});

/** Handler of the wake-up vector: wakes the vCPUs that sleep on this CPU and have ON set. */
export const pi_wakeup_handler = kvm(file, function* pi_wakeup_handler(m: Machine, cpu: number) {
  yield m.park('lock the wake-up list', wakeupLockFree, cpu);
  m.cpu[cpu]!.wakeup_vcpus_on_cpu_lock = m.current + 1;
  for (const { index, on_wakeup_list, pi_desc } of m.vcpu) {
    if (on_wakeup_list !== cpu) continue;
    yield m.step('vCPU {target}: wake it if ON is set', index);
    if (pi_desc.on) kvm_vcpu_wake_up(m, index);
  }
  yield m.step('unlock the wake-up list');
  m.cpu[cpu]!.wakeup_vcpus_on_cpu_lock = 0;
});

/** With SN set ON says nothing. @kvm arch/x86/kvm/vmx/posted_intr.c */
export const pi_has_pending_interrupt = (m: Machine, vcpu: number): boolean => {
  const { pi_desc } = m.vcpu[vcpu]!;
  return pi_desc.on || (pi_desc.sn && pi_desc.pir.any());
};

/**
 * A device whose interrupts are posted is given to the VM. vCPUs that went to sleep before that
 * have not armed the wake-up vector: they are woken, and arm it when they go to sleep again.
 */
export const vmx_pi_start_assignment = kvm(file, function* vmx_pi_start_assignment(m: Machine) {
  yield m.step('one more device is assigned');
  m.vm.assigned_devices++;
  if (m.vm.assigned_devices > 1 || !m.on('unblock-on-pi-assignment')) return;
  yield* kvm_make_all_cpus_request(m, KVM_REQ.UNBLOCK);
});
