/** What actors can be told to do: the instructions of a scenario, declared once. */

import { INVALID_GPA } from './addresses.ts';
import { guestSpecs } from './guest_instructions.ts';
import { nestedStateFields } from './nested_state.ts';
import {
  cpu,
  gsi,
  guestDebug,
  high,
  type InstructionSpec,
  low,
  memslot,
  outsideRun,
  page,
  pin,
  reason,
  registerOffset,
  registerValue,
  slotAddress,
  vcpu,
  vector,
  word,
} from './operands.ts';
import { mpState } from './vcpu.ts';

export {
  type ActorKind,
  guestDebug,
  type InstructionSpec,
  type Operand,
  type OperandKind,
} from './operands.ts';

export const instructionSpecs = [
  ...guestSpecs,
  {
    op: 'migrate',
    by: 'mm',
    operands: [page],
    doc: 'moves the page to another frame, between the start and the end of an MMU-notifier interval',
  },
  {
    op: 'madvise-dontneed',
    by: 'mm',
    operands: [page],
    doc: 'unmaps the page and drops its frame; the next access faults a new, empty frame in',
  },
  {
    op: 'oom-reap',
    by: 'mm',
    operands: [page],
    doc: 'the same by the OOM killer: vCPUs in the guest are interrupted, but not waited for',
  },
  {
    op: 'munmap',
    by: 'mm',
    operands: [page],
    doc: 'user space unmaps the page: KVM_RUN fails with −EFAULT where the guest needs it',
  },
  {
    op: 'mmap',
    by: 'mm',
    operands: [page],
    doc: 'user space maps new memory there (MAP_FIXED), in place of what was mapped',
  },
  {
    op: 'inhibit-apic-access-page',
    by: 'user',
    operands: [],
    doc: 'kvm_inhibit_apic_access_page: deletes the private memslot at 0xfee00000',
  },
  {
    op: 'inhibit-apicv',
    by: 'user',
    operands: [reason],
    doc: 'gives a reason why APICv is off for the VM',
  },
  {
    op: 'uninhibit-apicv',
    by: 'user',
    operands: [reason],
    doc: 'takes the reason back; without any APICv is on again',
  },
  {
    op: 'assign-device',
    by: 'user',
    operands: [],
    doc: 'gives the VM a device whose interrupts the IOMMU posts',
  },
  {
    op: 'redirect',
    by: 'user',
    operands: [
      pin,
      { ...low, doc: 'vector 7:0, logical 11, level 15, mask 16' },
      { ...vcpu, doc: 'the vCPU that gets it' },
    ],
    doc:
      'programs the redirection entry of a pin of the IOAPIC: through its registers; if it is in ' +
      'user space (irqchip split) that sets the route of the pin',
  },
  {
    op: 'route',
    by: 'user',
    operands: [
      gsi,
      { name: 'address', kind: 'u32', doc: 'destination 19:12, redirection hint 3, logical 2' },
      { name: 'data', kind: 'u32', doc: 'level 15, delivery mode 10:8, vector 7:0' },
    ],
    doc: 'KVM_SET_GSI_ROUTING: the global interrupt becomes an MSI that writes DATA to ADDRESS',
  },
  {
    op: 'interrupt',
    by: 'user',
    operands: [vcpu, vector],
    doc: `KVM_INTERRUPT: an ExtINT of a PIC in user space (irqchip split); ${outsideRun}`,
  },
  {
    op: 'get-lapic',
    by: 'user',
    operands: [vcpu],
    doc: `KVM_GET_LAPIC, which harvests what was posted; ${outsideRun}`,
  },
  {
    op: 'set-lapic',
    by: 'user',
    operands: [vcpu, { ...vector, doc: 'the vector that is added to IRR' }],
    doc: `KVM_SET_LAPIC of what KVM_GET_LAPIC gave, with one more vector requested; ${outsideRun}`,
  },
  {
    op: 'verify-lapic',
    by: 'user',
    operands: [vcpu, registerOffset, { ...word, doc: 'what the register has to hold' }],
    doc: `compares a register of what KVM_GET_LAPIC gives, as "verify" does; ${outsideRun}`,
  },
  {
    op: 'inject-ucna',
    by: 'user',
    operands: [vcpu],
    doc: `KVM_X86_SET_MCE of an error that needs no action: LVT CMCI delivers it; ${outsideRun}`,
  },
  {
    op: 'set-lapic-registers',
    by: 'user',
    operands: [vcpu, registerOffset, registerValue],
    rest: [registerOffset, registerValue],
    doc: `KVM_SET_LAPIC of what KVM_GET_LAPIC gave, with other words in it; ${outsideRun}`,
  },
  {
    op: 'set-apic-base',
    by: 'user',
    operands: [vcpu, low, high],
    doc: `KVM_SET_SREGS with another value of IA32_APIC_BASE; ${outsideRun}`,
  },
  {
    op: 'set-guest-debug',
    by: 'user',
    operands: [
      vcpu,
      { name: 'control', kind: 'u32', names: guestDebug, doc: 'KVM_GUESTDBG_*: BLOCKIRQ, or NONE' },
    ],
    doc: `KVM_SET_GUEST_DEBUG: BLOCKIRQ lets no interrupt into the guest; ${outsideRun}`,
  },
  {
    op: 'set-memory-region',
    by: 'user',
    operands: [
      memslot,
      slotAddress,
      { name: 'size', kind: 'u32', doc: 'bytes, whole pages; 0 deletes the slot' },
      { ...page, doc: 'the first page of its memory, by the frame number that it had at boot' },
    ],
    doc: 'KVM_SET_USER_MEMORY_REGION: creates, moves or deletes a memslot',
  },
  {
    op: 'delete-memslot',
    by: 'user',
    operands: [memslot],
    doc: 'KVM_SET_USER_MEMORY_REGION of size 0: the guest has no memory there any more',
  },
  {
    op: 'move-memslot',
    by: 'user',
    operands: [memslot, slotAddress],
    doc: 'KVM_SET_USER_MEMORY_REGION: the same memory at another guest-physical address',
  },
  {
    op: 'save-restore',
    by: 'user',
    operands: [vcpu],
    doc:
      'KVM_GET_MP_STATE, KVM_GET_VCPU_EVENTS, KVM_GET_SREGS, KVM_GET_LAPIC and, with `nested on`, ' +
      `KVM_GET_NESTED_STATE, then KVM_SET_* of what they gave, as a migration does it; ${outsideRun}`,
  },
  {
    op: 'set-mp-state',
    by: 'user',
    operands: [
      vcpu,
      { name: 'state', kind: 'u32', names: mpState, doc: 'KVM_MP_STATE_*: HALTED …' },
    ],
    doc: `KVM_SET_MP_STATE; ${outsideRun}`,
  },
  {
    op: 'get-nested-state',
    by: 'user',
    operands: [vcpu],
    doc: `KVM_GET_NESTED_STATE; user space keeps what it gets; ${outsideRun}`,
  },
  {
    op: 'edit-nested-state',
    by: 'user',
    operands: [
      vcpu,
      { name: 'field', kind: 'u32', names: nestedStateFields, doc: 'a field of the header' },
      {
        name: 'value',
        kind: 'u32',
        max: 2 ** 52 - 1,
        names: { none: INVALID_GPA },
        doc: 'its value; none: all ones',
      },
    ],
    doc: 'user space changes what it keeps for KVM_SET_NESTED_STATE',
  },
  {
    op: 'set-nested-state',
    by: 'user',
    operands: [vcpu],
    doc: `KVM_SET_NESTED_STATE of what user space keeps; ${outsideRun}`,
  },
  {
    op: 'set-vapic-addr',
    by: 'user',
    operands: [vcpu, { name: 'address', kind: 'u32', doc: 'of a word of guest memory; 0: none' }],
    doc: `KVM_SET_VAPIC_ADDR: the guest shares its TPR in memory; ${outsideRun}`,
  },
  {
    op: 'report-tpr-access',
    by: 'user',
    operands: [vcpu, { name: 'enabled', kind: 'u32', max: 1, doc: '1: tell me, 0: do not' }],
    doc: `KVM_TPR_ACCESS_REPORTING: accesses to the TPR that exit leave KVM_RUN; ${outsideRun}`,
  },
  {
    op: 'preempt',
    by: 'sched',
    operands: [vcpu],
    doc: 'asks the thread of the vCPU to give its CPU away',
  },
  {
    op: 'run-on',
    by: 'sched',
    operands: [vcpu, { ...cpu, doc: 'the CPU that it gets, which may be another: cpu1' }],
    doc: 'gives a preempted vCPU a CPU, once that is free',
  },
  {
    op: 'msi',
    by: 'dev',
    operands: [vector, vcpu],
    doc: 'the device sends an edge-triggered, fixed interrupt to the vCPU, by its APIC ID',
  },
  {
    op: 'write-msi',
    by: 'dev',
    operands: [
      { name: 'address', kind: 'u32', doc: 'destination 19:12, redirection hint 3, logical 2' },
      { name: 'data', kind: 'u32', doc: 'level 15, delivery mode 10:8 (1 lowest), vector 7:0' },
    ],
    doc: 'the device sends an interrupt of any form: writes DATA to ADDRESS',
  },
  {
    op: 'raise',
    by: 'dev',
    operands: [pin],
    doc: 'the device asserts its line to the IOAPIC (KVM_IRQ_LINE_STATUS)',
  },
  { op: 'lower', by: 'dev', operands: [pin], doc: 'the device lowers its line to the IOAPIC' },
  {
    op: 'irqfd',
    by: 'dev',
    operands: [gsi],
    doc: 'the device signals the irqfd of a global interrupt: its MSI, or an edge at that pin',
  },
  {
    op: 'pic-raise',
    by: 'dev',
    operands: [{ ...vector, doc: 'what the PIC answers when it is acknowledged' }],
    doc: 'the PIC asserts INTR, which LINT0 in ExtINT mode passes on; in KVM, or in user space',
  },
  { op: 'pic-lower', by: 'dev', operands: [], doc: 'the PIC takes INTR back' },
  {
    op: 'post',
    by: 'iommu',
    operands: [vector, vcpu],
    doc:
      'interrupt remapping posts the vector: into PIR, and unless SN is set ON becomes set and ' +
      'NV is sent to NDST',
  },
  {
    op: 'advance',
    by: 'clock',
    operands: [{ name: 'ns', kind: 'u32', doc: 'nanoseconds' }],
    doc: 'time goes on; timers that are due fire, each an actor: timer0 …',
  },
] as const satisfies readonly InstructionSpec[];

/** RAX of a VMCALL. include/uapi/linux/kvm_para.h */
export const KVM_HC = { KICK_CPU: 5, SEND_IPI: 10 } as const;

export type Op = (typeof instructionSpecs)[number]['op'];

/** One instruction after compilation; loops are counters and jumps. */
export type Instruction =
  | { readonly op: Op; readonly operands: readonly number[] }
  | { readonly op: 'loop-begin'; readonly counter: number; readonly count: number }
  | { readonly op: 'loop-end'; readonly counter: number; readonly target: number };

export type Program = readonly Instruction[];

/** Operand of kind `page` for the APIC-access page; other values are guest frame numbers. */
export const APIC_ACCESS_PAGE = -1;
