/** The controls of vmcs01 say what KVM holds to be true of the APIC. */
import { X2APIC_ENABLE } from '../../state/apicdef.ts';
import { firstFrame, hpa_to_pfn, type VcpuView } from '../../state/machine.ts';
import { pinControl, secondaryControl, tertiaryControl } from '../../state/vmcs.ts';
import { passedX2apicMsrs } from '../../state/x2apic_msrs.ts';
import type { Check } from '../check.ts';
import { hex, isPresent, violated } from '../violation.ts';

const isX2apic = (vcpu: VcpuView): boolean =>
  isPresent(vcpu) && (vcpu.apic_base & X2APIC_ENABLE) !== 0;

export const inv_vapic_page_is_regs: Check = {
  id: 'inv-vapic-page-is-regs',
  when: 'entry',
  per: 'vcpu',
  summary: 'when L1 is entered, VIRTUAL_APIC_PAGE_ADDR is the register page of its kvm_lapic',
  why: 'otherwise the CPU and KVM work on different registers',
  races: [],
  reads: [
    'vcpu[*].vmcs01.virtual_apic_page_addr',
    'vcpu[*].guest_mode',
    'vcpu[*].apic.guest_apic_protected',
  ],
  broken(m, index) {
    const { guest_mode, vmcs01, apic } = m.vcpu[index]!;
    if (guest_mode || apic.guest_apic_protected) return undefined;
    const { virtual_apic_page_addr: address } = vmcs01;
    if (hpa_to_pfn(address) === firstFrame + index) return undefined;
    return violated(
      `vCPU ${index} enters L1 with the virtual-APIC page ${hex(address)}, ` +
        `its registers are pfn ${firstFrame + index}`,
      `vcpu[${index}].vmcs01.virtual_apic_page_addr`,
    );
  },
};

export const inv_apicv_controls: Check = {
  id: 'inv-apicv-controls',
  when: 'entry',
  per: 'vcpu',
  summary:
    'when L1 is entered, posted interrupts, register virtualization and interrupt delivery are on ' +
    'exactly if apicv_active, IPI virtualization if enable_ipiv too',
  why: 'KVM would deliver in one way while the CPU expects the other: the interrupt waits for ever',
  races: ['R51'],
  reads: [
    'vcpu[*].vmcs01.pin_based_vm_exec_control',
    'vcpu[*].vmcs01.secondary_vm_exec_control',
    'vcpu[*].vmcs01.tertiary_vm_exec_control',
    'vcpu[*].apic.apicv_active',
    'vcpu[*].guest_mode',
    'vm.enable_ipiv',
  ],
  broken(m, index) {
    const { guest_mode, vmcs01, apic } = m.vcpu[index]!;
    if (guest_mode) return undefined;
    const active = apic.apicv_active;
    const { secondary_vm_exec_control: secondary } = vmcs01;
    const found: readonly (readonly [string, boolean, boolean])[] = [
      ['posted interrupts', vmcs01.pin_based_vm_exec_control.has(pinControl.POSTED_INTR), active],
      ['register virtualization', secondary.has(secondaryControl.APIC_REGISTER_VIRT), active],
      ['interrupt delivery', secondary.has(secondaryControl.VIRTUAL_INTR_DELIVERY), active],
      [
        'IPI virtualization',
        vmcs01.tertiary_vm_exec_control.has(tertiaryControl.IPI_VIRT),
        active && m.vm.enable_ipiv,
      ],
    ];
    const wrong = found.find(([, is, wanted]) => is !== wanted);
    if (wrong === undefined) return undefined;
    return violated(
      `vCPU ${index} enters L1 with ${wrong[0]} ${wrong[1] ? 'on' : 'off'}, ` +
        `but apicv_active is ${active}`,
      `vcpu[${index}].apic.apicv_active`,
      `vcpu[${index}].vmcs01.secondary_vm_exec_control`,
    );
  },
};

export const inv_apicv_vm_vcpu: Check = {
  id: 'inv-apicv-vm-vcpu',
  when: 'entry',
  per: 'vcpu',
  summary:
    'at VM entry apicv_active is set exactly if the VM has no reason against APICv, unless the ' +
    'APIC is disabled',
  why: 'a vCPU that has not followed an inhibit uses what the VM had a reason to turn off',
  races: ['R46'],
  reads: [
    'vm.apicv_inhibit_reasons',
    'vcpu[*].apic.apicv_active',
    'vcpu[*].apic.guest_apic_protected',
    'vcpu[*].apic_base',
  ],
  broken(m, index) {
    const vcpu = m.vcpu[index]!;
    const { apic } = vcpu;
    if (!isPresent(vcpu) || apic.guest_apic_protected) return undefined;
    const activated = !m.vm.apicv_inhibit_reasons.any();
    if (apic.apicv_active === activated) return undefined;
    return violated(
      `vCPU ${index} enters the guest with apicv_active ${apic.apicv_active}, ` +
        `the inhibit reasons are ${hex(m.vm.apicv_inhibit_reasons.word(0))}`,
      `vcpu[${index}].apic.apicv_active`,
      'vm.apicv_inhibit_reasons',
    );
  },
};

export const inv_apicv_update_serialized: Check = {
  id: 'inv-apicv-update-serialized',
  when: 'step',
  per: 'machine',
  summary: 'the inhibit reasons never change while a vCPU that has read them follows them',
  why: 'the vCPU would end up with APICv as it was to be before, and nobody asks it again',
  races: ['R46'],
  reads: ['vm.spec.reasons_while_followed', 'vm.apicv_inhibit_reasons'],
  broken(m) {
    return m.vm.spec.reasons_while_followed === 0
      ? undefined
      : violated(
          `the inhibit reasons became ${hex(m.vm.apicv_inhibit_reasons.word(0))} while a vCPU ` +
            'followed those before',
          'vm.apicv_inhibit_reasons',
        );
  },
};

export const inv_exec_mode_controls: Check = {
  id: 'inv-exec-mode-controls',
  when: 'entry',
  per: 'vcpu',
  summary:
    'when L1 is entered, APIC accesses are virtualized exactly in xAPIC mode, and x2APIC mode ' +
    'exactly in x2APIC mode',
  why: 'the guest would reach its APIC in a way that the CPU does not virtualize',
  races: ['R05'],
  reads: [
    'vcpu[*].vmcs01.secondary_vm_exec_control',
    'vcpu[*].apic_base',
    'vcpu[*].guest_mode',
    'vm.flexpriority_enabled',
  ],
  broken(m, index) {
    const vcpu = m.vcpu[index]!;
    if (vcpu.guest_mode) return undefined;
    const enabled = isPresent(vcpu);
    const x2apic = isX2apic(vcpu);
    const { secondary_vm_exec_control: secondary } = vcpu.vmcs01;
    const accesses = secondary.has(secondaryControl.VIRTUALIZE_APIC_ACCESSES);
    const msrs = secondary.has(secondaryControl.VIRTUALIZE_X2APIC_MODE);
    const wanted = enabled && !x2apic && m.vm.flexpriority_enabled;
    if (accesses === wanted && msrs === x2apic) return undefined;
    const mode = enabled ? (x2apic ? 'x2APIC' : 'xAPIC') : 'disabled';
    return violated(
      `vCPU ${index} enters L1 in mode ${mode} with APIC accesses ` +
        `${accesses ? '' : 'not '}virtualized and x2APIC mode ${msrs ? '' : 'not '}virtualized`,
      `vcpu[${index}].vmcs01.secondary_vm_exec_control`,
      `vcpu[${index}].apic_base`,
    );
  },
};

/** The first register at which a bitmap is not what it should be, −1 for none. */
const firstDifference = (
  bitmap: { readonly word: (index: number) => number },
  passed: readonly number[],
): number => {
  for (let word = 0; word < 8; word++) {
    const wrong = (bitmap.word(word) ^ ~(passed[word] ?? 0)) >>> 0;
    if (wrong !== 0) return word * 32 + 31 - Math.clz32(wrong);
  }
  return -1;
};

export const inv_x2apic_bitmap: Check = {
  id: 'inv-x2apic-bitmap',
  when: 'entry',
  per: 'vcpu',
  summary:
    'when L1 is entered, exactly those x2APIC MSRs do not exit that the CPU can virtualize in the ' +
    'mode of the APIC, with APICv as apicv_active says',
  why:
    'an MSR that exits too often costs time; one that does not exit although nothing virtualizes ' +
    'it is an MSR of the host',
  races: ['R51'],
  reads: [
    'vcpu[*].msr_bitmap.*',
    'vcpu[*].apic_base',
    'vcpu[*].apic.apicv_active',
    'vcpu[*].apic.nr_lvt_entries',
    'vcpu[*].guest_mode',
    'vm.enable_ipiv',
  ],
  broken(m, index) {
    const vcpu = m.vcpu[index]!;
    if (vcpu.guest_mode) return undefined;
    const { reads, writes } = passedX2apicMsrs({
      virtualized: isX2apic(vcpu),
      apicvActive: vcpu.apic.apicv_active,
      ipiv: m.vm.enable_ipiv,
      cmci: vcpu.apic.nr_lvt_entries > 6,
    });
    const read = firstDifference(vcpu.msr_bitmap.x2apic_read, reads);
    const write = firstDifference(vcpu.msr_bitmap.x2apic_write, writes);
    if (read < 0 && write < 0) return undefined;
    return violated(
      `vCPU ${index} enters L1 with the wrong bit for ${read < 0 ? 'writes' : 'reads'} of MSR ` +
        `${hex(0x800 + (read < 0 ? write : read))}, apicv_active is ${vcpu.apic.apicv_active}`,
      `vcpu[${index}].msr_bitmap.${read < 0 ? 'x2apic_write' : 'x2apic_read'}`,
      `vcpu[${index}].apic.apicv_active`,
    );
  },
};
