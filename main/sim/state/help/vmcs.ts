/** Help: the VMCS. */
import { Vmcs } from '../vmcs.ts';
import { helpFor } from './form.ts';

const early = 'of L2 `prepare_vmcs02_early`';
const pages = 'of L2 `nested_get_vmcs12_pages`';
const exitBitmap = '`vmx_load_eoi_exitmap`; of L2 `prepare_vmcs02`';
const cr8 =
  '`vmx_update_cr8_intercept`, and by `__nested_vmx_vmexit` what was put off; ' +
  'of L2 `prepare_vmcs02_early`';

export const vmcsHelp = [
  helpFor(
    Vmcs,
    { source: 'SDM 25; arch/x86/include/asm/vmx.h' },
    {
      virtual_processor_id: { by: `set at creation; ${early}`, source: 'SDM 25.6.12' },
      posted_intr_nv: { by: `set at creation; ${early}`, source: 'SDM 25.6.8; 30.6' },
      last_pid_pointer_index: {
        by: 'set at creation; the kernel: init_vmcs',
        source: 'SDM 25.6.8; 30.1.6',
      },
      guest_intr_status: {
        by:
          'the CPU: RVI by `postedInterruptProcessing` and `selfIpiVirtualization`, ' +
          'both by `virtualInterruptDelivery`, SVI by `eoiVirtualization`; KVM: ' +
          '`vmx_set_rvi`, `vmx_hwapic_isr_update`, of L2 `prepare_vmcs02_early` and ' +
          '`vmx_complete_nested_posted_interrupt`',
        source: 'SDM 25.4.2; 30.2',
      },
      virtual_apic_page_addr: {
        by: `set at creation; ${pages}`,
        source: 'SDM 25.6.8; 30.1.1',
      },
      apic_access_addr: {
        by: `\`vmx_set_apic_access_page_addr\`; ${pages}`,
        source: 'SDM 25.6.8; 30.4',
      },
      posted_intr_desc_addr: {
        by: `set at creation; ${pages}`,
        source: 'SDM 25.6.8; 30.6',
      },
      ept_pointer: {
        by: 'set at creation, `kvm_mmu_load` (vmx_load_mmu_pgd)',
        source: 'SDM 25.6.11',
      },
      eoi_exit_bitmap0: { by: exitBitmap, source: 'SDM 25.6.8; 30.1.4' },
      eoi_exit_bitmap1: { by: exitBitmap, source: 'SDM 25.6.8; 30.1.4' },
      eoi_exit_bitmap2: { by: exitBitmap, source: 'SDM 25.6.8; 30.1.4' },
      eoi_exit_bitmap3: { by: exitBitmap, source: 'SDM 25.6.8; 30.1.4' },
      tertiary_vm_exec_control: {
        by: 'set at creation; the kernel: vmx_tertiary_exec_control',
        source: 'SDM 25.6.2',
      },
      pid_pointer_table: {
        by: 'set at creation; the kernel: init_vmcs',
        source: 'SDM 25.6.8; 30.1.6',
      },
      guest_physical_address: {
        by: 'the CPU at an EPT violation (`guestAccess`)',
        source: 'SDM 25.9.1; 28.2.1',
      },
      pin_based_vm_exec_control: {
        by: `set at creation, \`vmx_refresh_apicv_exec_ctrl\`; ${early}; ${pages} that fail`,
        source: 'SDM 25.6.1',
      },
      cpu_based_vm_exec_control: {
        by:
          'set at creation; windows: opened by `enableWindow` of ' +
          'kvm_check_and_inject_events, closed by `handle_interrupt_window` and ' +
          '`handle_nmi_window`; of L2 `prepare_vmcs02_early`, `nested_get_vmcs12_pages`',
        source: 'SDM 25.6.2',
      },
      vm_exit_controls: { by: `set at creation; ${early}`, source: 'SDM 25.7.1' },
      vm_entry_intr_info: {
        by:
          '`vmx_inject_irq`, `vmx_inject_nmi`; cleared by `vmx_cancel_injection` and ' +
          '`kvm_vcpu_reset`; the CPU clears bit 31 at VM exit (`leaveGuest`); ' +
          'of L2 `prepare_vmcs02_early`',
        source: 'SDM 25.8.3; 27.6',
      },
      tpr_threshold: { by: cr8, source: 'SDM 25.6.8; 30.1.2' },
      secondary_vm_exec_control: {
        by:
          'set at creation, `vmx_refresh_apicv_exec_ctrl`, `vmx_set_virtual_apic_mode`; ' +
          'of L2 `prepare_vmcs02_early`',
        source: 'SDM 25.6.2',
      },
      vm_instruction_error: {
        by: 'the CPU at a VM entry that fails (`enterGuest`)',
        source: 'SDM 25.9.5; 31.4',
      },
      vm_exit_reason: {
        by: 'the CPU at VM exit (`leaveGuest`), and at a VM entry that fails (`enterGuest`)',
        source: 'SDM 25.9.1; appendix C',
      },
      vm_exit_intr_info: {
        by:
          'the CPU at an exit for an interrupt (`physicalInterrupt`) or an exception ' +
          '(`executeRsm`); `vcpu_enter_guest` clears it as it handles the interrupt, ' +
          '`handle_exception_nmi` as it handles the exception',
        source: 'SDM 25.9.2; 28.2.2',
      },
      idt_vectoring_info: {
        by: 'nobody yet: no exit of the model breaks a delivery off',
        source: 'SDM 25.9.3; 28.2.4',
      },
      guest_interruptibility: {
        by:
          'the CPU (`guestInstruction`: STI, and the end of its shadow), `enter_smm`, ' +
          '`emulator_leave_smm`, `kvm_vcpu_reset`, `kvm_vcpu_ioctl_x86_set_vcpu_events`, ' +
          '`vmx_set_nmi_mask`; of L2 `prepare_vmcs02_early`',
        source: 'SDM 25.4.2',
      },
      guest_activity_state: {
        by:
          'the CPU (`setActivity`): HLT, and an interrupt that ends it; `kvm_vcpu_reset`, ' +
          '`vmx_inject_irq`; of L2 `prepare_vmcs02`',
        source: 'SDM 25.4.2',
      },
      exit_qualification: {
        by: 'the CPU, as the exit is prepared (`exitFor`)',
        source: 'SDM 25.9.1; 28.2.1',
      },
      vmx_preemption_timer_value: { by: '`vmx_update_hv_timer`', source: 'SDM 25.4.2; 26.5.1' },
    },
  ),
];
