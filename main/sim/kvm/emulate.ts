/** Instructions that KVM does in the place of the guest. */
import { put_page } from '../host/frames.ts';
import { hva_to_pfn } from '../host/page_table.ts';
import { skipInstruction } from '../hw/guest_program.ts';
import { readBytes, writeBytes } from '../hw/memory.ts';
import {
  apicAccessGfn,
  IOAPIC_DEFAULT_BASE_ADDRESS,
  IOAPIC_MEM_LENGTH,
} from '../state/addresses.ts';
import { PAGE_SIZE } from '../state/machine.ts';
import type { Program } from '../state/program.ts';
import { kvmExit } from '../state/vcpu.ts';
import { irqchipMode } from '../state/vm.ts';
import { type Body, kvm, type Machine } from '../steps.ts';
import { instructionOf, type MemoryAccess, memoryAccessAt } from './decode.ts';
import { EOPNOTSUPP } from './errno.ts';
import { ioapic_mmio_read, ioapic_mmio_write } from './ioapic.ts';
import { apic_mmio_read, apic_mmio_write } from './lapic/access.ts';
import { gfn_to_memslot, hvaInSlot } from './mmu/mmu.ts';
import { emulator_leave_smm } from './smm.ts';

const wide = 8;

/** A register of the local APIC; negative if it does not answer. */
function* emulateApic(m: Machine, vcpu: number, access: MemoryAccess): Body<number> {
  const { width, write } = access.kind;
  return write
    ? yield* apic_mmio_write(m, vcpu, access.gpa, width, m.vcpu[vcpu]!.guest.value)
    : yield* apic_mmio_read(m, vcpu, access.gpa, width);
}

/** The same of the IOAPIC, if that is in KVM. */
function* emulateIoapic(m: Machine, vcpu: number, access: MemoryAccess): Body<number> {
  const { width, write } = access.kind;
  const { guest } = m.vcpu[vcpu]!;
  const offset = access.gpa - IOAPIC_DEFAULT_BASE_ADDRESS;
  const isThere = m.vm.irqchip_mode === irqchipMode.KERNEL;
  if (!isThere || offset < 0 || offset >= IOAPIC_MEM_LENGTH) return -EOPNOTSUPP;
  if (write) {
    yield* ioapic_mmio_write(m, offset, guest.value);
    return 0;
  }
  const result: number = yield* ioapic_mmio_read(m, offset);
  guest.value = width < 4 ? result % 2 ** (8 * width) : result;
  if (width === wide) guest.value_high = 0;
  return 0;
}

/** Whoever answers on the bus; negative if nobody in KVM does. */
function* emulateMmio(m: Machine, vcpu: number, access: MemoryAccess): Body<number> {
  const outcome = yield* emulateApic(m, vcpu, access);
  return outcome < 0 ? yield* emulateIoapic(m, vcpu, access) : outcome;
}

const copyBytes = (m: Machine, vcpu: number, pfn: number, access: MemoryAccess): void => {
  const { guest } = m.vcpu[vcpu]!;
  const { width, write } = access.kind;
  const offset = access.gpa % PAGE_SIZE;
  if (write) {
    writeBytes(m, pfn, offset, width, guest.value);
    if (width === wide) writeBytes(m, pfn, offset + 4, width, guest.value_high);
  } else {
    guest.value = readBytes(m, pfn, offset, width);
    if (width === wide) guest.value_high = readBytes(m, pfn, offset + 4, width);
  }
};

/** An access to guest memory that the CPU took for an APIC access; false if no memory is there. */
function* emulateMemory(m: Machine, vcpu: number, access: MemoryAccess): Body<boolean> {
  const gfn = Math.floor(access.gpa / PAGE_SIZE);
  // The private slot is for the CPU: the emulator takes its page for MMIO.
  const slot = gfn === apicAccessGfn ? -1 : gfn_to_memslot(m, gfn);
  // A slot that is going has no memory any more, and one that user space has unmapped has none.
  if (slot < 0 || m.vm.memslot[slot]!.invalid) return false;
  const pfn: number = yield* hva_to_pfn(m, hvaInSlot(m, slot, gfn));
  if (pfn < 0) return false;
  yield m.step('access pfn {pfn} through the mapping of user space', pfn);
  copyBytes(m, vcpu, pfn, access);
  put_page(m, pfn);
  return true;
}

/** A device of user space is asked. A write is done with that, a read waits for the answer. */
function* askUserSpace(
  m: Machine,
  vcpu: number,
  access: MemoryAccess,
  program: Program,
): Body<void> {
  const { width, write } = access.kind;
  const target = m.vcpu[vcpu]!;
  const { guest, run_mmio } = target;
  yield m.step('nobody in KVM answers: KVM_EXIT_MMIO');
  run_mmio.phys_addr = access.gpa;
  run_mmio.len = width;
  run_mmio.is_write = write;
  run_mmio.data = write ? guest.value : 0;
  run_mmio.data_high = write && width === wide ? guest.value_high : 0;
  target.exit_reason = kvmExit.MMIO;
  if (write) skipInstruction(m, program);
  else target.mmio_needed = true;
}

/** KVM_RUN again, behind KVM_EXIT_MMIO: the read gets what user space has answered. */
export const complete_emulated_mmio = kvm(
  'arch/x86/kvm/x86.c',
  function* complete_emulated_mmio(m: Machine, vcpu: number, program: Program) {
    const target = m.vcpu[vcpu]!;
    const { guest, run_mmio } = target;
    yield m.step('the read is complete');
    target.mmio_needed = false;
    guest.value = run_mmio.data;
    if (run_mmio.len === wide) guest.value_high = run_mmio.data_high;
    skipInstruction(m, program);
  },
);

/** The instruction that the guest stands at, done by KVM; the guest goes on behind it. */
export const x86_emulate_instruction = kvm(
  'arch/x86/kvm/x86.c',
  function* x86_emulate_instruction(m: Machine, vcpu: number, program: Program) {
    if (instructionOf(m, program)?.op === 'rsm') {
      yield* emulator_leave_smm(m, vcpu);
      return;
    }
    const access = memoryAccessAt(m, program);
    if (access !== undefined) {
      const outcome: number = yield* emulateMmio(m, vcpu, access);
      if (outcome < 0 && !(yield* emulateMemory(m, vcpu, access))) {
        yield* askUserSpace(m, vcpu, access, program);
        return;
      }
    }
    skipInstruction(m, program);
  },
);
