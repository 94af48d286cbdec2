/** The life of a vCPU thread: requests, entry into the guest, exits, halting. */

import { put_page } from '../host/frames.ts';
import { local_irq_disable, local_irq_enable } from '../host/irq.ts';
import { srcu_read_lock, srcu_read_unlock } from '../host/locks.ts';
import { hva_to_pfn } from '../host/page_table.ts';
import type { Access } from '../hw/guest_access.ts';
import { readFrame, writeFrame } from '../hw/memory.ts';
import { vmEntry } from '../hw/vm_entry.ts';
import { apicAccessGfn } from '../state/addresses.ts';
import { PAGE_SIZE } from '../state/machine.ts';
import type { Program } from '../state/program.ts';
import { KVM_REQ, type RequestNumber } from '../state/requests.ts';
import { mpState, vcpuMode } from '../state/vcpu.ts';
import { exitReason } from '../state/vmcs.ts';
import { type Body, kvm, type Machine, type Steps } from '../steps.ts';
import { kvm_request_pending, kvm_vcpu_block, setMode } from './kvm_main.ts';
import { apic_mmio_read, apic_mmio_write } from './lapic.ts';
import {
  gfn_to_memslot,
  hvaInSlot,
  kvm_apicv_activated,
  kvm_mmu_load,
  kvm_tdp_page_fault,
  RET_PF,
} from './mmu/mmu.ts';
import {
  vmx_flush_tlb_all,
  vmx_flush_tlb_current,
  vmx_set_apic_access_page_addr,
  vmx_sync_pir_to_irr,
} from './vmx/vmx.ts';

const file = 'arch/x86/kvm/x86.c';

/** Bookkeeping of the checks: the handler of the request starts now. */
const noteTaken = (m: Machine, vcpu: number, request: RequestNumber): void => {
  const { spec, stat } = m.vcpu[vcpu]!;
  stat.requests_handled++;
  spec.request[request]!.taken = spec.request[request]!.published;
  if (request === KVM_REQ.APIC_PAGE_RELOAD) spec.in_reload = true;
};

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

const kvm_vcpu_reload_apic_access_page = kvm(
  file,
  function* kvm_vcpu_reload_apic_access_page(m: Machine, vcpu: number) {
    yield* vmx_set_apic_access_page_addr(m, vcpu);
    m.vcpu[vcpu]!.spec.in_reload = false;
  },
);

/** @omits the refresh of the VMCS controls: nothing in this version changes apicv_active */
const kvm_vcpu_update_apicv = kvm(file, function* kvm_vcpu_update_apicv(m: Machine, vcpu: number) {
  yield m.step('is apicv_active what the inhibit reasons say?');
  const { apic } = m.vcpu[vcpu]!;
  if (apic.apicv_active !== kvm_apicv_activated(m)) apic.apicv_active = kvm_apicv_activated(m);
});

interface Handler {
  readonly request: RequestNumber;
  readonly handle: (m: Machine, vcpu: number) => Steps<unknown>;
}

/**
 * The requests in the order in which vcpu_enter_guest looks at them.
 * @omits those that nothing in this version makes
 */
const handlers: readonly Handler[] = [
  { request: KVM_REQ.TLB_FLUSH, handle: kvm_vcpu_flush_tlb_all },
  { request: KVM_REQ.TLB_FLUSH_CURRENT, handle: kvm_vcpu_flush_tlb_current },
  { request: KVM_REQ.APIC_PAGE_RELOAD, handle: kvm_vcpu_reload_apic_access_page },
  { request: KVM_REQ.APICV_UPDATE, handle: kvm_vcpu_update_apicv },
];

/**
 * Is the request set? Clears it, so that a request made while the handler runs is seen later.
 * Without `req-clear-before-handle` the caller clears it behind the handler.
 */
const kvm_check_request = kvm(
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

function* handleRequests(m: Machine, vcpuIndex: number): Body<void> {
  for (const { request, handle } of handlers) {
    if (!(yield* kvm_check_request(m, vcpuIndex, request))) continue;
    yield* handle(m, vcpuIndex);
    if (m.on('req-clear-before-handle')) continue;
    yield m.step('clear request {request}, its handler being done', request);
    m.vcpu[vcpuIndex]!.requests.clear(request);
  }
}

/** @omits injection: no interrupt source is modelled yet */
const kvm_check_and_inject_events = kvm(file, function* kvm_check_and_inject_events(m: Machine) {
  yield m.step('look for events to inject: none');
});

/**
 * Has something come up since the requests were read?
 * @kvm arch/x86/kvm/x86.c: kvm_vcpu_exit_request
 */
const kvm_vcpu_exit_request = (m: Machine, vcpu: number): boolean =>
  m.vcpu[vcpu]!.mode === vcpuMode.EXITING_GUEST_MODE || kvm_request_pending(m, vcpu);

const handle_ept_violation = kvm(
  'arch/x86/kvm/vmx/vmx.c',
  function* handle_ept_violation(m: Machine, vcpuIndex: number, program: Program) {
    const vcpu = m.vcpu[vcpuIndex]!;
    vcpu.stat.ept_violations++;
    const result = yield* kvm_tdp_page_fault(m, vcpuIndex, vcpu.vmcs01.guest_physical_address);
    if (result === RET_PF.EMULATE) yield* emulate(m, vcpuIndex, program);
  },
);

/** An access to guest memory that the CPU took for an APIC access. */
function* emulateMemory(m: Machine, vcpuIndex: number, access: Access): Body<void> {
  const gfn = Math.floor(access.gpa / PAGE_SIZE);
  const slot = gfn_to_memslot(m, gfn);
  if (slot < 0) return;
  const pfn: number = yield* hva_to_pfn(m, hvaInSlot(m, slot, gfn));
  if (pfn < 0) return;
  yield m.step('access pfn {pfn} through the mapping of user space', pfn);
  const offset = access.gpa % PAGE_SIZE;
  if (access.write) writeFrame(m, pfn, offset, access.value);
  else m.vcpu[vcpuIndex]!.guest.value = readFrame(m, pfn, offset);
  put_page(m, pfn);
}

/** The instruction that the guest stands at, done by KVM; the guest goes on behind it. */
const emulate = kvm(
  file,
  function* x86_emulate_instruction(m: Machine, vcpuIndex: number, program: Program) {
    const actor = m.actor[m.current]!;
    const instruction = program[actor.pc];
    const [gpa = 0, value = 0] =
      instruction !== undefined && 'operands' in instruction ? instruction.operands : [];
    const write = instruction?.op === 'write';
    if (Math.floor(gpa / PAGE_SIZE) !== apicAccessGfn) {
      yield* emulateMemory(m, vcpuIndex, { gpa, write, value });
    } else if (write) {
      yield* apic_mmio_write(m, vcpuIndex, value);
    } else {
      yield* apic_mmio_read(m, vcpuIndex);
    }
    actor.pc++;
  },
);

const kvm_emulate_halt = kvm(
  file,
  function* kvm_emulate_halt(m: Machine, vcpuIndex: number, program: Program) {
    yield m.step('mp_state = HALTED');
    m.vcpu[vcpuIndex]!.mp_state = mpState.HALTED;
    const actor = m.actor[m.current]!;
    // Behind its last instruction the guest halts for good.
    if (actor.pc < program.length) actor.pc++;
  },
);

const handle_exit = kvm(
  'arch/x86/kvm/vmx/vmx.c',
  function* vmx_handle_exit(m: Machine, vcpuIndex: number, reason: number, program: Program) {
    switch (reason) {
      case exitReason.EPT_VIOLATION:
        yield* handle_ept_violation(m, vcpuIndex, program);
        break;
      case exitReason.APIC_ACCESS:
        m.vcpu[vcpuIndex]!.stat.apic_access_exits++;
        yield* emulate(m, vcpuIndex, program);
        break;
      case exitReason.HLT:
        yield* kvm_emulate_halt(m, vcpuIndex, program);
        break;
      default:
        // An external interrupt has done its work by causing the exit; the same for a TPR
        // below the threshold, as long as no interrupt source is modelled.
        break;
    }
  },
);

const leaveSrcu = (m: Machine, vcpu: number): void => {
  srcu_read_unlock(m, m.vcpu[vcpu]!.srcu_idx);
  m.vcpu[vcpu]!.srcu_idx = -1;
};

/** The way out of IN_GUEST_MODE, whether or not the guest was entered. */
function* backToHost(m: Machine, vcpuIndex: number): Body<void> {
  const vcpu = m.vcpu[vcpuIndex]!;
  yield m.step('mode = OUTSIDE_GUEST_MODE');
  setMode(m, vcpuIndex, vcpuMode.OUTSIDE_GUEST_MODE);
  yield m.step('interrupts on: pending ones are taken');
  local_irq_enable(m, vcpu.cpu);
  yield m.step('srcu_read_lock');
  vcpu.srcu_idx = srcu_read_lock(m);
}

/**
 * One turn of a vCPU: requests, entry, guest, exit.
 * @kvm arch/x86/kvm/x86.c
 * @omits guest FPU, debug registers, fast-path re-entry, host work pending
 */
const vcpu_enter_guest = kvm(
  file,
  function* vcpu_enter_guest(m: Machine, vcpuIndex: number, program: Program) {
    const vcpu = m.vcpu[vcpuIndex]!;
    yield m.step('is any request pending?');
    if (kvm_request_pending(m, vcpuIndex)) yield* handleRequests(m, vcpuIndex);
    if (yield* kvm_check_request(m, vcpuIndex, KVM_REQ.EVENT)) {
      yield* kvm_check_and_inject_events(m);
    }
    if (vcpu.root_mmu.root < 0) yield* kvm_mmu_load(m, vcpuIndex);

    yield m.step('interrupts off');
    local_irq_disable(m, vcpu.cpu);
    yield m.step('mode = IN_GUEST_MODE');
    setMode(m, vcpuIndex, vcpuMode.IN_GUEST_MODE);
    yield m.step('srcu_read_unlock');
    leaveSrcu(m, vcpuIndex);
    // The full barrier here orders the mode store before every read that follows.
    yield* vmx_sync_pir_to_irr(m, vcpuIndex);
    if (m.on('final-request-check')) {
      yield m.step('final check: mode EXITING, or a request?');
      if (kvm_vcpu_exit_request(m, vcpuIndex)) {
        yield* backToHost(m, vcpuIndex);
        return;
      }
    }
    const reason = yield* vmEntry(m, vcpuIndex, program);
    yield* backToHost(m, vcpuIndex);
    yield* handle_exit(m, vcpuIndex, reason, program);
  },
);

/**
 * A halted vCPU sleeps until an event ends its sleep.
 * @kvm arch/x86/kvm/x86.c: vcpu_block
 */
const vcpu_block = kvm(file, function* vcpu_block(m: Machine, vcpuIndex: number) {
  const vcpu = m.vcpu[vcpuIndex]!;
  yield m.step('srcu_read_unlock');
  leaveSrcu(m, vcpuIndex);
  // No event that could end the sleep for good is modelled yet: woken, it goes to sleep again.
  yield* kvm_vcpu_block(m, vcpuIndex, () => false);
  yield m.step('srcu_read_lock');
  vcpu.srcu_idx = srcu_read_lock(m);
});

/** The thread of a vCPU inside KVM_RUN. @kvm arch/x86/kvm/x86.c */
export const vcpu_run = kvm(
  file,
  function* vcpu_run(m: Machine, vcpuIndex: number, program: Program) {
    const vcpu = m.vcpu[vcpuIndex]!;
    yield m.step('srcu_read_lock');
    vcpu.srcu_idx = srcu_read_lock(m);
    for (;;) {
      if (vcpu.mp_state === mpState.RUNNABLE) yield* vcpu_enter_guest(m, vcpuIndex, program);
      else yield* vcpu_block(m, vcpuIndex);
    }
  },
);
