/** What a guest can be told to execute. */
import {
  address,
  high,
  type InstructionSpec,
  low,
  msr,
  region,
  value,
  vcpu,
  vmcsField,
  word,
} from './operands.ts';

export const guestSpecs = [
  {
    op: 'read',
    by: 'vcpu',
    operands: [address(4)],
    doc: 'the guest reads 4 bytes; at 0xfee00080 that is the TPR of its local APIC',
  },
  {
    op: 'write',
    by: 'vcpu',
    operands: [address(4), word],
    doc: 'the guest stores 4 bytes; at 0xfee00300 that sends an IPI',
  },
  {
    op: 'pause',
    by: 'vcpu',
    operands: [],
    doc: 'the guest executes an instruction that touches nothing',
  },
  {
    op: 'verify',
    by: 'vcpu',
    operands: [{ ...low, name: 'value', doc: 'what the last read has to have given, bits 31:0' }],
    doc: 'the guest compares what it read: guest.verified or guest.mismatches counts it',
  },
  {
    op: 'verify-between',
    by: 'vcpu',
    operands: [
      { ...low, name: 'least', doc: 'the smallest value that is right' },
      { ...low, name: 'most', doc: 'the largest value that is right' },
    ],
    doc: 'the same where the exact value does not matter',
  },
  { op: 'hlt', by: 'vcpu', operands: [], doc: 'the guest halts until an interrupt wakes it' },
  { op: 'read8', by: 'vcpu', operands: [address(1)], doc: 'the guest reads a byte' },
  { op: 'read16', by: 'vcpu', operands: [address(2)], doc: 'the guest reads 2 bytes' },
  { op: 'read64', by: 'vcpu', operands: [address(8)], doc: 'the guest reads 8 bytes' },
  { op: 'write8', by: 'vcpu', operands: [address(1), value(0xff)], doc: 'the guest stores a byte' },
  {
    op: 'write16',
    by: 'vcpu',
    operands: [address(2), value(0xffff)],
    doc: 'the guest stores 2 bytes',
  },
  { op: 'write64', by: 'vcpu', operands: [address(8), low, high], doc: 'the guest stores 8 bytes' },
  { op: 'rdmsr', by: 'vcpu', operands: [msr], doc: 'the guest reads an MSR' },
  { op: 'wrmsr', by: 'vcpu', operands: [msr, word], doc: 'the guest writes an MSR, with EDX = 0' },
  { op: 'wrmsr64', by: 'vcpu', operands: [msr, low, high], doc: 'the guest writes an MSR' },
  {
    op: 'cpuid',
    by: 'vcpu',
    operands: [],
    doc:
      'the guest asks for leaf 1: guest.value is EDX, of which bit 9 says that the APIC is enabled, ' +
      'guest.value_high is ECX: VMX 5, x2APIC 21, TSC deadline 24',
  },
  {
    op: 'mov-to-cr8',
    by: 'vcpu',
    operands: [
      {
        name: 'class',
        kind: 'u32',
        doc: 'priority class, 0 to 15: bits 7:4 of the TPR; more raises #GP',
      },
    ],
    doc: 'the guest writes CR8',
  },
  { op: 'mov-from-cr8', by: 'vcpu', operands: [], doc: 'the guest reads CR8' },
  {
    op: 'eoi',
    by: 'vcpu',
    operands: [],
    doc: 'the guest ends the interrupt in service: by MSR in x2APIC mode, else by MMIO',
  },
  {
    op: 'sti',
    by: 'vcpu',
    operands: [],
    doc: 'the guest allows interrupts, from behind the next instruction on',
  },
  { op: 'cli', by: 'vcpu', operands: [], doc: 'the guest holds interrupts back' },
  { op: 'iret', by: 'vcpu', operands: [], doc: 'the handler returns to what it interrupted' },
  {
    op: 'pv-eoi',
    by: 'vcpu',
    operands: [
      { ...address(1), name: 'byte', memoryOnly: true, doc: 'where the byte of MSR 0x4b564d04 is' },
    ],
    doc: 'the guest ends the interrupt in service: clears bit 0 of the byte if KVM has set it, else as eoi',
  },
  {
    op: 'vmcall',
    by: 'vcpu',
    operands: [],
    doc: 'the guest calls the hypervisor, with a number that KVM does not know',
  },
  {
    op: 'pv-send-ipi',
    by: 'vcpu',
    operands: [
      { name: 'low', kind: 'u32', doc: 'RBX: bit n is APIC ID MIN + n' },
      { name: 'high', kind: 'u32', doc: 'RCX: bit n is APIC ID MIN + 64 + n' },
      { name: 'min', kind: 'u32', doc: 'RDX: the lowest APIC ID' },
      { name: 'icr', kind: 'u32', doc: 'RSI: vector 7:0, delivery mode 10:8' },
    ],
    doc: 'VMCALL KVM_HC_SEND_IPI (RAX = 10): one exit for an IPI to many; RAX: who took it',
  },
  {
    op: 'pv-kick',
    by: 'vcpu',
    operands: [vcpu],
    doc: 'VMCALL KVM_HC_KICK_CPU (RAX = 5): ends HLT of the vCPU, also with interrupts off',
  },
  {
    op: 'vmxon',
    by: 'vcpu',
    operands: [region('VMXON region')],
    doc: 'the guest, being a hypervisor (L1), enters VMX operation',
  },
  { op: 'vmxoff', by: 'vcpu', operands: [], doc: 'L1 leaves VMX operation' },
  {
    op: 'vmclear',
    by: 'vcpu',
    operands: [region('VMCS')],
    doc: 'L1 makes a VMCS clear: its launch state, and what is cached goes to memory',
  },
  {
    op: 'vmptrld',
    by: 'vcpu',
    operands: [region('VMCS')],
    doc: 'L1 makes a VMCS current; its first four bytes must be the revision 0x11e57ed0',
  },
  { op: 'vmread', by: 'vcpu', operands: [vmcsField], doc: 'L1 reads a field of the current VMCS' },
  {
    op: 'vmwrite',
    by: 'vcpu',
    operands: [vmcsField, word],
    doc: 'L1 writes a field of the current VMCS, with 0 in bits 63:32',
  },
  {
    op: 'vmwrite64',
    by: 'vcpu',
    operands: [vmcsField, low, high],
    doc: 'L1 writes a field of the current VMCS',
  },
  {
    op: 'vmlaunch',
    by: 'vcpu',
    operands: [],
    doc: 'L1 enters L2 for the first time; it goes on behind this when L2 exits to it',
  },
  {
    op: 'vmresume',
    by: 'vcpu',
    operands: [],
    doc: 'L1 enters L2 again; it goes on behind this when L2 exits to it',
  },
  {
    op: 'advance-rip',
    by: 'vcpu',
    operands: [],
    doc:
      'L1 adds VM_EXIT_INSTRUCTION_LEN to GUEST_RIP: both are in the shadow VMCS, so that this ' +
      'causes no exit',
  },
  {
    op: 'handler',
    by: 'vcpu',
    operands: [],
    doc:
      'the program ends here; what follows, up to its iret, is its interrupt handler, entered ' +
      'with interrupts off. Without one the handler is "eoi iret"',
  },
  {
    op: 'smi-handler',
    by: 'vcpu',
    operands: [],
    doc:
      'what follows, up to its rsm, is done in system-management mode when an SMI is taken. ' +
      'Without one it is "rsm"',
  },
  { op: 'rsm', by: 'vcpu', operands: [], doc: 'the SMI handler returns to what it interrupted' },
] as const satisfies readonly InstructionSpec[];
