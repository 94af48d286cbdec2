/** The in-kernel local APIC, as far as the APIC-access page needs it. */
import { priorityOf } from '../hw/apic_virtualization.ts';
import { kvm, type Machine } from '../steps.ts';

const file = 'arch/x86/kvm/lapic.c';

/** @kvm arch/x86/kvm/lapic.c: apic_find_highest_irr */
export const apic_find_highest_irr = (m: Machine, vcpu: number): number => {
  const { apic } = m.vcpu[vcpu]!;
  return apic.irr_pending ? apic.irr.highest() : -1;
};

/** @kvm arch/x86/kvm/lapic.c: apic_find_highest_isr */
const apic_find_highest_isr = (m: Machine, vcpu: number): number => {
  const { apic } = m.vcpu[vcpu]!;
  if (apic.isr_count === 0) return -1;
  return apic.highest_isr_cache !== -1 ? apic.highest_isr_cache : apic.isr.highest();
};

/** Recomputes the PPR; says whether it dropped. @kvm arch/x86/kvm/lapic.c: __apic_update_ppr */
const __apic_update_ppr = (m: Machine, vcpu: number): boolean => {
  const { apic } = m.vcpu[vcpu]!;
  const old = apic.ppr;
  const ppr = priorityOf(apic.tpr, Math.max(0, apic_find_highest_isr(m, vcpu)));
  if (ppr !== old) apic.ppr = ppr;
  return ppr < old;
};

/**
 * Moves what was posted into IRR; gives the highest vector requested, −1 for none.
 * @kvm arch/x86/kvm/lapic.c: kvm_apic_update_irr
 */
export const kvm_apic_update_irr = kvm(
  file,
  function* kvm_apic_update_irr(m: Machine, vcpuIndex: number) {
    const { apic, pi_desc } = m.vcpu[vcpuIndex]!;
    for (let word = 0; word < 8; word++) {
      if (pi_desc.pir.word(word) === 0) continue;
      yield m.step('take word {word} of PIR and put it into IRR', word);
      const posted = pi_desc.pir.word(word);
      pi_desc.pir.setWord(word, 0);
      apic.irr.setWord(word, apic.irr.word(word) | posted);
    }
    if (!apic.apicv_active && apic.irr.any()) apic.irr_pending = true;
    return apic.irr.highest();
  },
);

/**
 * A read that the instruction emulator does, because the CPU did not virtualize it.
 * @omits every register but the TPR
 */
export const apic_mmio_read = kvm(file, function* apic_mmio_read(m: Machine, vcpuIndex: number) {
  const { apic, guest, stat } = m.vcpu[vcpuIndex]!;
  yield m.step('read the TPR');
  stat.emulated_apic_mmio++;
  guest.value = apic.tpr;
});

/** The same for a write. @omits every register but the TPR */
export const apic_mmio_write = kvm(
  file,
  function* apic_mmio_write(m: Machine, vcpuIndex: number, value: number) {
    const { apic, stat } = m.vcpu[vcpuIndex]!;
    yield m.step('write the TPR');
    stat.emulated_apic_mmio++;
    apic.tpr = value & 0xff;
    yield m.step('apic_update_ppr');
    __apic_update_ppr(m, vcpuIndex);
  },
);
