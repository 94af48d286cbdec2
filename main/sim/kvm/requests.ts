/** What a vCPU does with the requests that were made of it, before it enters the guest. */
import { KVM_REQ, type RequestNumber } from '../state/requests.ts';
import { kvmExit } from '../state/vcpu.ts';
import { type Body, kvm, type Machine, type Steps } from '../steps.ts';
import { kvm_vcpu_update_apicv } from './apicv.ts';
import { process_nmi } from './inject.ts';
import { noteTaken } from './kvm_main.ts';
import { vcpu_load_eoi_exitmap, vcpu_scan_ioapic } from './lapic/eoi.ts';
import { __kvm_migrate_timers } from './lapic/timer.ts';
import { process_smi } from './smm.ts';
import {
  vmx_flush_tlb_all,
  vmx_flush_tlb_current,
  vmx_flush_tlb_guest,
  vmx_set_apic_access_page_addr,
} from './vmx/vmx.ts';

const file = 'arch/x86/kvm/x86.c';

const kvm_vcpu_flush_tlb_all = kvm(
  file,
  function* kvm_vcpu_flush_tlb_all(m: Machine, vcpu: number) {
    if (!m.on('zap-flush-all-roots')) {
      yield m.step('flush the current EP4TA');
      vmx_flush_tlb_current(m, vcpu);
      return;
    }
    yield m.step('flush every EP4TA; TLB_FLUSH_CURRENT is done with it');
    vmx_flush_tlb_all(m, vcpu);
    const { requests } = m.vcpu[vcpu]!;
    if (requests.has(KVM_REQ.TLB_FLUSH_CURRENT)) {
      requests.clear(KVM_REQ.TLB_FLUSH_CURRENT);
      noteTaken(m, vcpu, KVM_REQ.TLB_FLUSH_CURRENT);
    }
  },
);

const kvm_vcpu_flush_tlb_current = kvm(
  file,
  function* kvm_vcpu_flush_tlb_current(m: Machine, vcpu: number) {
    yield m.step('flush the current EP4TA');
    vmx_flush_tlb_current(m, vcpu);
  },
);

const kvm_vcpu_flush_tlb_guest = kvm(
  file,
  function* kvm_vcpu_flush_tlb_guest(m: Machine, vcpu: number) {
    yield m.step('flush what is tagged with the VPID');
    vmx_flush_tlb_guest(m, vcpu);
  },
);

const kvm_vcpu_reload_apic_access_page = kvm(
  file,
  function* kvm_vcpu_reload_apic_access_page(m: Machine, vcpu: number) {
    yield* vmx_set_apic_access_page_addr(m, vcpu);
    m.vcpu[vcpu]!.spec.in_reload = false;
  },
);

/** The IOAPIC of user space must hear of the EOI, if its routes still say so. */
const ioapicEoiExit = (m: Machine, vcpu: number): number => {
  const { ioapic_handled_vectors, pending_ioapic_eoi } = m.vcpu[vcpu]!;
  return ioapic_handled_vectors.has(pending_ioapic_eoi) ? kvmExit.IOAPIC_EOI : kvmExit.NONE;
};

interface Handler {
  readonly request: RequestNumber;
  readonly handle?: (m: Machine, vcpu: number) => Steps<unknown>;
  /** why user space has to be asked */
  readonly exit?: (m: Machine, vcpu: number) => number;
}

/**
 * The requests in the order in which vcpu_enter_guest looks at them. Those without a handler are
 * for what the model leaves out.
 * @omits those that nothing in the model makes
 */
const handlers: readonly Handler[] = [
  { request: KVM_REQ.MIGRATE_TIMER, handle: __kvm_migrate_timers },
  { request: KVM_REQ.TLB_FLUSH, handle: kvm_vcpu_flush_tlb_all },
  { request: KVM_REQ.TLB_FLUSH_CURRENT, handle: kvm_vcpu_flush_tlb_current },
  { request: KVM_REQ.TLB_FLUSH_GUEST, handle: kvm_vcpu_flush_tlb_guest },
  { request: KVM_REQ.REPORT_TPR_ACCESS, exit: () => kvmExit.TPR_ACCESS },
  { request: KVM_REQ.SMI, handle: process_smi },
  { request: KVM_REQ.NMI, handle: process_nmi },
  { request: KVM_REQ.IOAPIC_EOI_EXIT, exit: ioapicEoiExit },
  { request: KVM_REQ.SCAN_IOAPIC, handle: vcpu_scan_ioapic },
  { request: KVM_REQ.LOAD_EOI_EXITMAP, handle: vcpu_load_eoi_exitmap },
  { request: KVM_REQ.APIC_PAGE_RELOAD, handle: kvm_vcpu_reload_apic_access_page },
  { request: KVM_REQ.APICV_UPDATE, handle: kvm_vcpu_update_apicv },
  { request: KVM_REQ.APF_READY },
];

/**
 * Is the request set? Clears it, so that a request made while the handler runs is seen later.
 * Without `req-clear-before-handle` the caller clears it behind the handler.
 */
export const kvm_check_request = kvm(
  'include/linux/kvm_host.h',
  function* kvm_check_request(m: Machine, vcpuIndex: number, request: RequestNumber) {
    const { requests } = m.vcpu[vcpuIndex]!;
    yield m.step('is request {request} set?', request);
    if (!requests.has(request)) return false;
    if (m.on('req-clear-before-handle')) {
      yield m.step('clear request {request}', request);
      requests.clear(request);
    }
    noteTaken(m, vcpuIndex, request);
    return true;
  },
);

/** True if the vCPU may go on; false if user space has to be asked something. */
export function* handleRequests(m: Machine, vcpuIndex: number): Body<boolean> {
  for (const { request, handle, exit } of handlers) {
    if (!(yield* kvm_check_request(m, vcpuIndex, request))) continue;
    if (handle !== undefined) yield* handle(m, vcpuIndex);
    if (!m.on('req-clear-before-handle')) {
      yield m.step('clear request {request}, its handler being done', request);
      m.vcpu[vcpuIndex]!.requests.clear(request);
    }
    const reason = exit === undefined ? kvmExit.NONE : exit(m, vcpuIndex);
    if (reason === kvmExit.NONE) continue;
    m.vcpu[vcpuIndex]!.exit_reason = reason;
    return false;
  }
  return true;
}
