/** The VMX instructions of L1: each exits, and KVM does what the CPU would have done. */
import { skipInstruction } from '../../../hw/guest_program.ts';
import { INVALID_GPA } from '../../../state/addresses.ts';
import { apicEvent } from '../../../state/lapic.ts';
import type { Program } from '../../../state/program.ts';
import { KVM_REQ } from '../../../state/requests.ts';
import { exitReason, vmInstructionError } from '../../../state/vmcs.ts';
import { SHADOW_VMCS, VMCS12_REVISION } from '../../../state/vmcs12.ts';
import { type Body, kvm, type Machine, type Steps } from '../../../steps.ts';
import { operandsAt } from '../../decode.ts';
import { kvm_make_request } from '../../kvm_main.ts';
import { usesCaches } from './caches.ts';
import { page_address_valid } from './checks.ts';
import { vmx_nested_context_clear } from './context.ts';
import { nested_get_evmptr, nested_release_evmcs, nested_vmx_is_evmptr12_valid } from './evmcs.ts';
import { enter_vmx_operation, free_nested } from './operation.ts';
import { nested_vmx_run } from './run.ts';
import {
  loadVmcs12,
  nested_release_vmcs12,
  readGuestWord,
  set_current_vmptr,
  writeGuestWord,
} from './vmcs12.ts';
import { isReadableField, isShadowedForWrite, readField, writeField } from './vmcs12_fields.ts';
import { nested_vmx_fail, nested_vmx_failInvalid, nested_vmx_succeed } from './vmfail.ts';

const file = 'arch/x86/kvm/vmx/nested.c';

const LAUNCH_STATE = 8;

/** Outside VMX operation the instructions raise #UD. @kvm nested.c: nested_vmx_check_permission */
const isPermitted = (m: Machine, vcpu: number, program: Program): boolean => {
  if (m.vcpu[vcpu]!.nested.vmxon) return true;
  m.vcpu[vcpu]!.guest.ud++;
  skipInstruction(m, program);
  return false;
};

const handle_vmxon = kvm(file, function* handle_vmxon(m: Machine, vcpu: number, program: Program) {
  const { nested, guest } = m.vcpu[vcpu]!;
  const [vmptr = 0] = operandsAt(m, program);
  if (!m.vm.enable_vmx) {
    guest.ud++;
    skipInstruction(m, program);
    return;
  }
  if (nested.vmxon) {
    nested_vmx_fail(m, vcpu, program, vmInstructionError.VMXON_IN_VMX_ROOT_OPERATION);
    return;
  }
  if (!page_address_valid(m, vmptr)) {
    nested_vmx_failInvalid(m, vcpu, program);
    return;
  }
  const revision: number = yield* readGuestWord(m, vmptr);
  if (revision !== VMCS12_REVISION) {
    nested_vmx_failInvalid(m, vcpu, program);
    return;
  }
  nested.vmxon_ptr = vmptr;
  yield* enter_vmx_operation(m, vcpu);
  nested_vmx_succeed(m, vcpu, program);
});

const handle_vmxoff = kvm(
  file,
  function* handle_vmxoff(m: Machine, vcpu: number, program: Program) {
    if (!isPermitted(m, vcpu, program)) return;
    yield* free_nested(m, vcpu);
    yield m.step('did an INIT wait for this?');
    if (m.vcpu[vcpu]!.apic.pending_events.has(apicEvent.INIT)) {
      kvm_make_request(m, vcpu, KVM_REQ.EVENT);
    }
    nested_vmx_succeed(m, vcpu, program);
  },
);

/**
 * An L1 with enlightened VMCSs clears one; KVM may have it. Says whether L1 is one.
 * @kvm nested.c
 */
const nested_evmcs_handle_vmclear = kvm(
  file,
  function* nested_evmcs_handle_vmclear(m: Machine, vcpu: number, vmptr: number) {
    const { nested } = m.vcpu[vcpu]!;
    if (!nested.enlightened_vmcs_enabled) return false;
    const used: number = yield* nested_get_evmptr(m, vcpu);
    if (used === INVALID_GPA) return false;
    if (vmptr === nested.hv_evmcs_vmptr) yield* nested_release_evmcs(m, vcpu);
    return true;
  },
);

const handle_vmclear = kvm(
  file,
  function* handle_vmclear(m: Machine, vcpu: number, program: Program) {
    if (!isPermitted(m, vcpu, program)) return;
    const { nested } = m.vcpu[vcpu]!;
    const [vmptr = 0] = operandsAt(m, program);
    if (!page_address_valid(m, vmptr)) {
      nested_vmx_fail(m, vcpu, program, vmInstructionError.VMCLEAR_INVALID_ADDRESS);
      return;
    }
    if (vmptr === nested.vmxon_ptr) {
      nested_vmx_fail(m, vcpu, program, vmInstructionError.VMCLEAR_VMXON_POINTER);
      return;
    }
    const enlightened: boolean = yield* nested_evmcs_handle_vmclear(m, vcpu, vmptr);
    if (!enlightened) {
      if (vmptr === nested.current_vmptr) yield* nested_release_vmcs12(m, vcpu);
      yield* writeGuestWord(m, vmptr + LAUNCH_STATE, 0);
    }
    if (usesCaches(m)) yield* vmx_nested_context_clear(m, vcpu, vmptr);
    nested_vmx_succeed(m, vcpu, program);
  },
);

/** What is wrong with the address of a VMPTRLD; 0 if nothing is. */
function* vmptrldError(m: Machine, vcpu: number, vmptr: number): Body<number> {
  if (!page_address_valid(m, vmptr)) return vmInstructionError.VMPTRLD_INVALID_ADDRESS;
  const { nested } = m.vcpu[vcpu]!;
  if (vmptr === nested.vmxon_ptr) return vmInstructionError.VMPTRLD_VMXON_POINTER;
  if (vmptr === nested.current_vmptr || nested_vmx_is_evmptr12_valid(m, vcpu)) return 0;
  const header: number = yield* readGuestWord(m, vmptr);
  const fits = header === VMCS12_REVISION || header === SHADOW_VMCS + VMCS12_REVISION;
  return fits ? 0 : vmInstructionError.VMPTRLD_INCORRECT_VMCS_REVISION_ID;
}

const handle_vmptrld = kvm(
  file,
  function* handle_vmptrld(m: Machine, vcpu: number, program: Program) {
    if (!isPermitted(m, vcpu, program)) return;
    const { nested } = m.vcpu[vcpu]!;
    const [vmptr = 0] = operandsAt(m, program);
    const error: number = yield* vmptrldError(m, vcpu, vmptr);
    if (error !== 0) {
      nested_vmx_fail(m, vcpu, program, error);
      return;
    }
    // While an enlightened VMCS is in use KVM ignores the instruction, and enters it again.
    if (nested_vmx_is_evmptr12_valid(m, vcpu)) return;
    if (vmptr !== nested.current_vmptr) {
      yield* nested_release_vmcs12(m, vcpu);
      yield* loadVmcs12(m, vcpu, vmptr);
      yield* set_current_vmptr(m, vcpu, vmptr);
    }
    nested_vmx_succeed(m, vcpu, program);
  },
);

/** Is there a VMCS, and a field of this encoding? Fails the instruction otherwise. */
const hasField = (m: Machine, vcpu: number, program: Program, encoding: number): boolean => {
  if (m.vcpu[vcpu]!.nested.current_vmptr === INVALID_GPA) {
    nested_vmx_failInvalid(m, vcpu, program);
    return false;
  }
  if (isReadableField(encoding)) return true;
  nested_vmx_fail(m, vcpu, program, vmInstructionError.UNSUPPORTED_VMCS_COMPONENT);
  return false;
};

/** @omits that it reads an enlightened VMCS where L1 uses one: there is no current one then */
const handle_vmread = kvm(
  file,
  function* handle_vmread(m: Machine, vcpu: number, program: Program) {
    if (!isPermitted(m, vcpu, program)) return;
    const [encoding = 0] = operandsAt(m, program);
    if (!hasField(m, vcpu, program, encoding)) return;
    yield m.step('VMREAD of field {field}', encoding);
    readField(m, vcpu, encoding);
    nested_vmx_succeed(m, vcpu, program);
  },
);

const handle_vmwrite = kvm(
  file,
  function* handle_vmwrite(m: Machine, vcpu: number, program: Program) {
    if (!isPermitted(m, vcpu, program)) return;
    const [encoding = 0, low = 0, high = 0] = operandsAt(m, program);
    if (!hasField(m, vcpu, program, encoding)) return;
    yield m.step('VMWRITE of field {field} = {high}:{low}', encoding, high, low);
    writeField(m, vcpu, encoding, { low, high });
    // Fields of the shadow VMCS are written at every entry anyhow.
    if (!isShadowedForWrite(encoding)) m.vcpu[vcpu]!.nested.dirty_vmcs12 = true;
    nested_vmx_succeed(m, vcpu, program);
  },
);

const handle_vmlaunch = kvm(
  file,
  function* handle_vmlaunch(m: Machine, vcpu: number, program: Program) {
    if (!isPermitted(m, vcpu, program)) return 1;
    return yield* nested_vmx_run(m, vcpu, program, true);
  },
);

const handle_vmresume = kvm(
  file,
  function* handle_vmresume(m: Machine, vcpu: number, program: Program) {
    if (!isPermitted(m, vcpu, program)) return 1;
    return yield* nested_vmx_run(m, vcpu, program, false);
  },
);

type Handle = (m: Machine, vcpu: number, program: Program) => Steps<unknown>;

/** Handlers of the exits that VMX instructions cause. */
export const vmxInstructionHandlers: Readonly<Record<number, Handle>> = {
  [exitReason.VMXON]: handle_vmxon,
  [exitReason.VMXOFF]: handle_vmxoff,
  [exitReason.VMCLEAR]: handle_vmclear,
  [exitReason.VMPTRLD]: handle_vmptrld,
  [exitReason.VMREAD]: handle_vmread,
  [exitReason.VMWRITE]: handle_vmwrite,
  [exitReason.VMLAUNCH]: handle_vmlaunch,
  [exitReason.VMRESUME]: handle_vmresume,
};
