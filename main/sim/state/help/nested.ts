/** Help: what KVM keeps of a guest that is a hypervisor. */
import { NestedVmx } from '../nested.ts';
import { helpFor } from './form.ts';

export const nestedHelp = [
  helpFor(
    NestedVmx,
    { source: 'struct nested_vmx, arch/x86/kvm/vmx/vmx.h' },
    {
      posted_intr_nv: {
        by: 'set at creation (−1); the kernel: prepare_vmcs02_early',
      },
      l1_tpr_threshold: {
        by: 'set by `vmx_update_cr8_intercept`, consumed by `__nested_vmx_vmexit`',
      },
      pi_pending: {
        by:
          'set by `vmx_deliver_nested_posted_interrupt`, cleared by ' +
          '`nested_vmx_enter_non_root_mode`',
      },
      change_vmcs01_virtual_apic_mode: {
        by: 'set by `vmx_set_virtual_apic_mode`, consumed by `__nested_vmx_vmexit`',
      },
      reload_vmcs01_apic_access_page: {
        by: 'set by `vmx_set_apic_access_page_addr`, consumed by `__nested_vmx_vmexit`',
      },
      update_vmcs01_apicv_status: {
        by: 'set by `vmx_refresh_apicv_exec_ctrl`, consumed by `__nested_vmx_vmexit`',
      },
      update_vmcs01_hwapic_isr: {
        by: 'set by `vmx_hwapic_isr_update`, consumed by `__nested_vmx_vmexit`',
      },
      nested_run_pending: {
        by: 'set at creation; the kernel: nested_vmx_run, vmx_vcpu_run',
      },
    },
  ),
];
