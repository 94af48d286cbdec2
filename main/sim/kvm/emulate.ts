/** Instructions that KVM does in the place of the guest. */
import { put_page } from '../host/frames.ts';
import { hva_to_pfn } from '../host/page_table.ts';
import { skipInstruction } from '../hw/guest_program.ts';
import { readBytes, writeBytes } from '../hw/memory.ts';
import { apicAccessGfn } from '../state/addresses.ts';
import { PAGE_SIZE } from '../state/machine.ts';
import type { Program } from '../state/program.ts';
import { type Body, kvm, type Machine } from '../steps.ts';
import { type MemoryAccess, memoryAccessAt } from './decode.ts';
import { apic_mmio_read, apic_mmio_write } from './lapic/access.ts';
import { gfn_to_memslot, hvaInSlot } from './mmu/mmu.ts';

const wide = 8;

/** A register of the APIC; negative if the APIC does not answer: user space would be asked. */
function* emulateMmio(m: Machine, vcpu: number, access: MemoryAccess): Body<number> {
  const { width, write } = access.kind;
  return write
    ? yield* apic_mmio_write(m, vcpu, access.gpa, width, m.vcpu[vcpu]!.guest.value)
    : yield* apic_mmio_read(m, vcpu, access.gpa, width);
}

const copyBytes = (m: Machine, vcpu: number, pfn: number, access: MemoryAccess): void => {
  const { guest } = m.vcpu[vcpu]!;
  const { width, write } = access.kind;
  const offset = access.gpa % PAGE_SIZE;
  if (write) {
    writeBytes(m, pfn, offset, { width, value: guest.value });
    if (width === wide) writeBytes(m, pfn, offset + 4, { width, value: guest.value_high });
  } else {
    guest.value = readBytes(m, pfn, offset, width);
    if (width === wide) guest.value_high = readBytes(m, pfn, offset + 4, width);
  }
};

/** An access to guest memory that the CPU took for an APIC access. */
function* emulateMemory(m: Machine, vcpu: number, access: MemoryAccess): Body<void> {
  const gfn = Math.floor(access.gpa / PAGE_SIZE);
  // The private slot is for the CPU: the emulator takes its page for MMIO.
  const slot = gfn === apicAccessGfn ? -1 : gfn_to_memslot(m, gfn);
  if (slot < 0) return;
  const pfn: number = yield* hva_to_pfn(m, hvaInSlot(m, slot, gfn));
  if (pfn < 0) return;
  yield m.step('access pfn {pfn} through the mapping of user space', pfn);
  copyBytes(m, vcpu, pfn, access);
  put_page(m, pfn);
}

/**
 * The instruction that the guest stands at, done by KVM; the guest goes on behind it.
 * @omits accesses that user space answers: a read gives what the register held
 */
export const x86_emulate_instruction = kvm(
  'arch/x86/kvm/x86.c',
  function* x86_emulate_instruction(m: Machine, vcpu: number, program: Program) {
    const access = memoryAccessAt(m, program);
    if (access !== undefined) {
      const outcome: number = yield* emulateMmio(m, vcpu, access);
      if (outcome < 0) yield* emulateMemory(m, vcpu, access);
    }
    skipInstruction(m, program);
  },
);
