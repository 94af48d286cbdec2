/** Help: the VMCS that L1 keeps for its L2. */
import { Vmcs12 } from '../vmcs12.ts';
import { helpFor, type Told } from './form.ts';

/** The copy comes from its page, from an enlightened VMCS or from user space, and goes there. */
const whole =
  '`handle_vmptrld`, `nested_vmx_handle_enlightened_vmptrld`, `vmx_set_nested_state`; ' +
  'the copy of user space `vmx_get_nested_state`';
const byL1 = `L1: \`handle_vmwrite\`; with the rest ${whole}`;

/** A field that L1 sets up and KVM does not write. */
const control = (section: string): Told => ({ by: byL1, source: `SDM ${section}` });
/** What else writes the field, before L1 or in place of it. */
const told = (by: string, section: string): Told => ({
  by: `${by}; ${byL1}`,
  source: `SDM ${section}`,
});

const atExit = 'an exit to L1: `prepare_vmcs12`';
const atSync = 'as L2 ends or is saved: `sync_vmcs02_to_vmcs12`';

export const vmcs12Help = [
  helpFor(
    Vmcs12,
    { source: 'struct vmcs12, arch/x86/kvm/vmx/vmcs12.h', by: byL1 },
    {
      revision_id: { by: `L1 in its memory; ${whole}`, source: 'SDM 25.2' },
      abort: { by: `nobody: no exit to L1 is aborted; ${whole}`, source: 'SDM 25.2; 28.7' },
      launch_state: {
        by: `L1 with VMCLEAR in its memory; 1 by \`prepare_vmcs12\`; ${whole}`,
        source: 'SDM 25.1; launch_state of struct vmcs12, arch/x86/kvm/vmx/vmcs12.h',
      },
      msr_bitmap: control('25.6.9'),
      virtual_apic_page_addr: control('25.6.8; 30.1.1'),
      apic_access_addr: control('25.6.8; 30.4'),
      posted_intr_desc_addr: control('25.6.8; 30.6'),
      ept_pointer: control('25.6.11'),
      eoi_exit_bitmap0: control('25.6.8; 30.1.4'),
      eoi_exit_bitmap1: control('25.6.8; 30.1.4'),
      eoi_exit_bitmap2: control('25.6.8; 30.1.4'),
      eoi_exit_bitmap3: control('25.6.8; 30.1.4'),
      guest_physical_address: control('25.9.1; 28.2.1'),
      vmcs_link_pointer: control('25.4.2'),
      exit_qualification: told(
        `${atExit}; \`nested_vmx_enter_non_root_mode\` for an entry that fails`,
        '25.9.1; 28.2.1',
      ),
      guest_rip: told(`${atSync}; L1 that skips an instruction of L2: \`advanceRip\``, '25.4.1'),
      guest_rflags: told(atSync, '25.4.1'),
      host_rip: control('25.5'),
      pin_based_vm_exec_control: control('25.6.1'),
      cpu_based_vm_exec_control: control('25.6.2'),
      vm_exit_controls: control('25.7.1'),
      vm_entry_controls: control('25.8.1'),
      vm_entry_intr_info_field: told(`bit 31 cleared at ${atExit}`, '25.8.3; 27.6'),
      tpr_threshold: control('25.6.8; 30.1.2'),
      secondary_vm_exec_control: control('25.6.2'),
      vm_instruction_error: told('`failValid` of an instruction of L1', '25.9.5; 31.4'),
      vm_exit_reason: told(
        `${atExit}; \`nested_vmx_enter_non_root_mode\` for an entry that fails`,
        '25.9.1; appendix C',
      ),
      vm_exit_intr_info: told(atExit, '25.9.2; 28.2.2'),
      idt_vectoring_info_field: told(atExit, '25.9.3; 28.2.4'),
      vm_exit_instruction_len: told(atExit, '25.9.4; 28.2.5'),
      guest_interruptibility_info: told(atSync, '25.4.2'),
      guest_activity_state: told(atSync, '25.4.2'),
      vmx_preemption_timer_value: control('25.4.2; 26.5.1'),
      virtual_processor_id: control('25.6.12'),
      posted_intr_nv: control('25.6.8; 30.6'),
      guest_intr_status: told(atSync, '25.4.2; 30.2'),
      guest_pml_index: control('25.4.2; 29.3.6'),
    },
  ),
];
