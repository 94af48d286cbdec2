/** Which x2APIC MSRs L1 may access without an exit: rebuilds the bitmap when that changes. */
import { secondaryControl } from '../../state/vmcs.ts';
import { passedX2apicMsrs } from '../../state/x2apic_msrs.ts';
import type { Machine } from '../../steps.ts';
import { lvt } from '../lapic/page.ts';

type Words = { word(index: number): number; setWord(index: number, value: number): void };

/** Everything is intercepted but what `passed` has. */
const intercept = (bitmap: Words, passed: readonly number[]): void => {
  for (let i = 0; i < 8; i++) {
    const word = ~(passed[i] ?? 0) >>> 0;
    if (bitmap.word(i) !== word) bitmap.setWord(i, word);
  }
};

/** Rebuilds the x2APIC part of the bitmap of vmcs01. @kvm arch/x86/kvm/vmx/vmx.c */
export const vmx_update_msr_bitmap_x2apic = (m: Machine, vcpu: number): void => {
  const { apic, vmcs01, msr_bitmap } = m.vcpu[vcpu]!;
  const passed = passedX2apicMsrs({
    virtualized: vmcs01.secondary_vm_exec_control.has(secondaryControl.VIRTUALIZE_X2APIC_MODE),
    apicvActive: apic.apicv_active,
    ipiv: m.vm.enable_ipiv,
    cmci: apic.nr_lvt_entries > lvt.CMCI,
  });
  intercept(msr_bitmap.x2apic_read, passed.reads);
  intercept(msr_bitmap.x2apic_write, passed.writes);
};
