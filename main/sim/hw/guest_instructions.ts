/** One instruction of the guest: what the CPU does itself, and what makes it exit. */
import { APIC_DEFAULT_PHYS_BASE } from '../state/addresses.ts';
import { APIC_BASE_MSR, APIC_EOI, APIC_TASKPRI, X2APIC_ENABLE } from '../state/apicdef.ts';
import { classOf } from '../state/priority.ts';
import type { Instruction, Program } from '../state/program.ts';
import {
  cpuControl,
  eventType,
  exitReason,
  INTR_INFO_VALID,
  interruptibility,
} from '../state/vmcs.ts';
import { type Machine, sdm } from '../steps.ts';
import { readVirtualApic, writeVirtualApic } from './apic_virtualization.ts';
import { type AccessKind, accessKinds, guestAccess, testAndClear } from './guest_access.ts';
import { endShadow, halt, returnFromInterrupt } from './guest_interrupts.ts';
import { instructionAt, skipInstruction } from './guest_program.ts';
import { tprVirtualization } from './virtual_interrupts.ts';
import { currentVmcs, exitFor, isTrapLike, primaryOn, type VmcsView } from './vmcs.ts';
import { raiseGp, reachHostApic, readMsr, writeMsr } from './x2apic_virt.ts';

const UD_VECTOR = 6;
const MSR_EOI = APIC_BASE_MSR + APIC_EOI / 16;

/** Exit qualification of MOV to and from CR8, through RAX. @sdm Table 28-3 */
const crAccess = { TO: 0x08, FROM: 0x18 } as const;

/** What is left of an operand that an instruction lacks. */
const operandOf = (instruction: Instruction, index: number): number =>
  'operands' in instruction ? (instruction.operands[index] ?? 0) : 0;

/** What a store stores goes into the guest's registers, where the access finds it. */
const loadRegisters = (
  m: Machine,
  vcpu: number,
  instruction: Instruction,
  { width, write }: AccessKind,
): void => {
  if (!write) return;
  const { guest } = m.vcpu[vcpu]!;
  guest.value = operandOf(instruction, 1);
  if (width === 8) guest.value_high = operandOf(instruction, 2);
};

/** The end of an interrupt, in the way of the APIC's mode. */
function* endOfInterrupt(m: Machine, vcpu: number) {
  const { guest, apic_base } = m.vcpu[vcpu]!;
  if ((apic_base & X2APIC_ENABLE) !== 0) return yield* writeMsr(m, vcpu, MSR_EOI, 0, 0);
  guest.value = 0;
  return yield* guestAccess(m, vcpu, APIC_DEFAULT_PHYS_BASE + APIC_EOI, accessKinds.write);
}

/** The guest need not tell the APIC if the hypervisor has set the bit, which it clears. */
function* paravirtualEoi(m: Machine, vcpu: number, byte: number) {
  const reason: number = yield* guestAccess(m, vcpu, byte, testAndClear);
  if (reason !== exitReason.NONE || (m.vcpu[vcpu]!.guest.value & 1) !== 0) return reason;
  return yield* endOfInterrupt(m, vcpu);
}

/**
 * CR8 is the task priority's class.
 * @sdm 30.3 Virtualizing CR8-Based TPR Accesses
 */
function* writeCr8(m: Machine, vcpu: number, value: number) {
  yield m.step('MOV to CR8: {value}', value);
  const vmcs = currentVmcs(m, vcpu);
  // The exit comes before #GP for a reserved bit (26.1.1): whoever asked for it sees the value.
  if (primaryOn(vmcs, cpuControl.CR8_LOAD)) {
    return exitFor(vmcs, exitReason.CR_ACCESS, crAccess.TO);
  }
  if (value > 0xf) return raiseGp(m, vcpu);
  if (!primaryOn(vmcs, cpuControl.TPR_SHADOW)) return reachHostApic(m);
  writeVirtualApic(m, vcpu, APIC_TASKPRI, value << 4);
  return yield* tprVirtualization(m, vcpu);
}

function* readCr8(m: Machine, vcpu: number) {
  yield m.step('MOV from CR8');
  const vmcs = currentVmcs(m, vcpu);
  if (primaryOn(vmcs, cpuControl.CR8_STORE)) {
    return exitFor(vmcs, exitReason.CR_ACCESS, crAccess.FROM);
  }
  if (!primaryOn(vmcs, cpuControl.TPR_SHADOW)) return reachHostApic(m);
  m.vcpu[vcpu]!.guest.value = classOf(readVirtualApic(m, vcpu, APIC_TASKPRI));
  return exitReason.NONE as number;
}

/** STI holds interrupts back until the next instruction has completed, if they were off. */
const allowInterrupts = (m: Machine, vcpu: number, vmcs: VmcsView): void => {
  const { guest } = m.vcpu[vcpu]!;
  if (guest.rflags_if) return;
  guest.rflags_if = true;
  vmcs.guest_interruptibility |= interruptibility.STI;
};

/** HLT; behind its last instruction the guest does nothing else. */
function* executeHlt(m: Machine, vcpu: number) {
  yield m.step('HLT');
  const vmcs = currentVmcs(m, vcpu);
  if (primaryOn(vmcs, cpuControl.HLT)) return exitFor(vmcs, exitReason.HLT, 0);
  halt(vmcs);
  return exitReason.NONE as number;
}

/**
 * The CPU itself is in no SMM, whatever the hypervisor makes the guest believe: #UD, which exits.
 * @sdm 26.1 Instructions that cause VM exits
 */
function* executeRsm(m: Machine, vcpu: number) {
  yield m.step('RSM: #UD');
  const vmcs = currentVmcs(m, vcpu);
  vmcs.vm_exit_intr_info = INTR_INFO_VALID + (eventType.EXCEPTION << 8) + UD_VECTOR;
  return exitFor(vmcs, exitReason.EXCEPTION_NMI, 0);
}

/** Instructions that change the guest's own registers at most, with the labels of their steps. */
const privateLabels = { sti: 'STI', cli: 'CLI', iret: 'IRET', pause: 'PAUSE' } as const;

type PrivateOp = keyof typeof privateLabels;

const isPrivate = (op: Instruction['op']): op is PrivateOp => op in privateLabels;

/** They complete in any case; IRET goes to where the interrupt came, the others to the next. */
const executePrivate = (m: Machine, vcpu: number, op: PrivateOp, program: Program): void => {
  const { guest } = m.vcpu[vcpu]!;
  if (op === 'iret') {
    returnFromInterrupt(m, vcpu);
    return;
  }
  if (op === 'sti') allowInterrupts(m, vcpu, currentVmcs(m, vcpu));
  if (op === 'cli' && guest.rflags_if) guest.rflags_if = false;
  skipInstruction(m, program);
};

const isComparison = (op: Instruction['op']): boolean => op === 'verify' || op === 'verify-between';

/** CMP with what the last read gave: the guest keeps count of what was right. */
const compare = (m: Machine, vcpu: number, instruction: Instruction): void => {
  const { guest } = m.vcpu[vcpu]!;
  const least = operandOf(instruction, 0);
  const most = instruction.op === 'verify' ? least : operandOf(instruction, 1);
  if (guest.value >= least && guest.value <= most) guest.verified++;
  else guest.mismatches++;
};

/** CPUID and VMX instructions of a guest exit whatever the controls say. @sdm 26.1.2 */
const alwaysExiting: Readonly<Partial<Record<Instruction['op'], number>>> = {
  cpuid: exitReason.CPUID,
  vmcall: exitReason.VMCALL,
  'pv-send-ipi': exitReason.VMCALL,
  'pv-kick': exitReason.VMCALL,
  vmxon: exitReason.VMXON,
  vmxoff: exitReason.VMXOFF,
  vmclear: exitReason.VMCLEAR,
  vmptrld: exitReason.VMPTRLD,
  vmread: exitReason.VMREAD,
  vmwrite: exitReason.VMWRITE,
  vmwrite64: exitReason.VMWRITE,
  vmlaunch: exitReason.VMLAUNCH,
  vmresume: exitReason.VMRESUME,
};

/**
 * What VMREAD and VMWRITE of these fields do where the CPU has VMCS shadowing.
 * @omits the shadow VMCS as a thing of its own: the fields are those of vmcs12
 */
const advanceRip = (m: Machine, vcpu: number): void => {
  const { cached_vmcs12: vmcs12 } = m.vcpu[vcpu]!.nested;
  // Where its program ends L2 halts for good: behind that HLT there is nothing to go on with.
  if (instructionAt(m.config.actors[vcpu]!.l2 ?? [], vmcs12.guest_rip) === undefined) return;
  vmcs12.guest_rip += vmcs12.vm_exit_instruction_len;
};

/** Gives the exit reason, NONE if the instruction has completed and the guest goes on. */
function* execute(m: Machine, vcpu: number, instruction: Instruction) {
  switch (instruction.op) {
    case 'hlt':
      return yield* executeHlt(m, vcpu);
    case 'eoi':
      return yield* endOfInterrupt(m, vcpu);
    case 'pv-eoi':
      return yield* paravirtualEoi(m, vcpu, operandOf(instruction, 0));
    case 'rdmsr':
      return yield* readMsr(m, vcpu, operandOf(instruction, 0));
    case 'wrmsr':
    case 'wrmsr64': {
      const { operands } = instruction;
      return yield* writeMsr(m, vcpu, operands[0] ?? 0, operands[1] ?? 0, operands[2] ?? 0);
    }
    case 'mov-to-cr8':
      return yield* writeCr8(m, vcpu, operandOf(instruction, 0));
    case 'mov-from-cr8':
      return yield* readCr8(m, vcpu);
    case 'rsm':
      return yield* executeRsm(m, vcpu);
    case 'advance-rip':
      yield m.step('GUEST_RIP += VM_EXIT_INSTRUCTION_LEN, in the shadow VMCS');
      advanceRip(m, vcpu);
      return exitReason.NONE as number;
    default: {
      const reason = alwaysExiting[instruction.op];
      if (reason === undefined) {
        throw new Error(`model: "${instruction.op}" is no instruction of a guest`);
      }
      yield m.step('an instruction that always exits: {reason}', reason);
      return exitFor(currentVmcs(m, vcpu), reason, 0);
    }
  }
}

const kindOf: Readonly<Partial<Record<Instruction['op'], AccessKind>>> = accessKinds;

const halts: Instruction = { op: 'hlt', operands: [] };

/**
 * One instruction of the guest; `undefined` stands for the end of its program. The guest goes on
 * with the next one if it has completed, also if something behind it makes the guest exit.
 * @sdm 26.1 Instructions that cause VM exits
 */
export const guestInstruction = sdm(
  '26.1',
  function* guestInstruction(
    m: Machine,
    vcpu: number,
    program: Program,
    instruction: Instruction | undefined,
  ) {
    endShadow(currentVmcs(m, vcpu));
    const executed = instruction ?? halts;
    const { op } = executed;
    if (isPrivate(op)) {
      yield m.step(privateLabels[op]);
      executePrivate(m, vcpu, op, program);
      return exitReason.NONE as number;
    }
    if (isComparison(op)) {
      yield m.step('CMP');
      compare(m, vcpu, executed);
      skipInstruction(m, program);
      return exitReason.NONE as number;
    }
    const kind = kindOf[op];
    let reason: number;
    if (kind === undefined) {
      reason = yield* execute(m, vcpu, executed);
    } else {
      loadRegisters(m, vcpu, executed, kind);
      reason = yield* guestAccess(m, vcpu, operandOf(executed, 0), kind);
    }
    if (reason === exitReason.NONE || isTrapLike(reason)) skipInstruction(m, program);
    return reason;
  },
);
